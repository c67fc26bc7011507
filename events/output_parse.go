package events

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// ParseOutput reads an event that this program published. Output.Data aliases
// m.Data: the bytes are the ones that were stored. Only the content counts, not
// the subject, so replayed copies on other subjects are read as well.
func ParseOutput(m Message) (Output, error) {
	o, fe := parseOutput(m)
	if fe != nil {
		return Output{}, refuse(fault.Malformed, "an output event", fe)
	}
	return o, nil
}

func parseOutput(m Message) (Output, *FieldError) {
	obj, fe := parseOwn(m.Data, "data")
	if fe != nil {
		return Output{}, fe
	}
	f := &fields{obj: obj}
	if version := f.requiredText("specversion", MaxID); version != SpecVersion {
		f.failf("specversion", "must be %q", SpecVersion)
	}
	o := Output{
		ID:           f.requiredText("id", MaxID),
		Type:         f.requiredText("type", maxSource),
		ConnectionID: f.text("subject", maxSource),
		CausationID:  f.text("causationid", MaxID),
		ReplayID:     f.text("replayid", MaxID),
		TraceParent:  f.text(HeaderTraceParent, maxSource),
		TraceState:   f.text(HeaderTraceState, maxSource),
	}
	if !IsOutput(o.Type) {
		f.failf("type", "is no output of the contract")
	}
	if source := f.requiredText("source", maxSource); source != Source {
		f.failf("source", "must be %s", Source)
	}
	if raw := f.text("time", 64); raw != "" {
		t, ok := parseTime(raw)
		if !ok {
			f.failf("time", "must be an RFC 3339 time")
		}
		o.Time = t
	}
	data, ok := f.value("data")
	switch {
	case !ok:
		f.failf("data", "missing")
	case data.Kind() != jsontext.KindBeginObject:
		f.failf("data", "must be an object, is %s", kindName(data.Kind()))
	}
	o.Data = data
	return o, f.err
}

// DecodeTransactionsFetched reads the data of a transactions.fetched. Account
// and Transactions alias o.Data and are the bytes finX sent; what Oversize refers
// to is not fetched.
func DecodeTransactionsFetched(o Output) (TransactionsFetched, error) {
	const what = TypeTransactionsFetched
	if o.Type != what {
		return TransactionsFetched{}, refuse(fault.Malformed, what, problem("type", "is not %s", what))
	}
	obj, fe := parseOwn(o.Data, "data")
	if fe != nil {
		return TransactionsFetched{}, refuse(fault.Malformed, what, fe)
	}
	f := &fields{obj: obj}
	d := TransactionsFetched{
		ConnectionID: f.requiredText("connection_id", MaxID),
		UserID:       f.text("user_id", MaxUserID),
		FetchID:      f.requiredText("fetch_id", MaxID),
		Trigger:      f.text("trigger", MaxID),
		SyncedAt:     f.text("synced_at", MaxID),
		Account:      f.container("account", jsontext.KindBeginObject),
	}
	if part := f.integer("part", 0, 1<<31-1); part != nil {
		d.Part = *part
	}
	if list := f.container("transactions", jsontext.KindBeginArray); list != nil {
		d.Transactions = slices.Clip(bytes.TrimSpace(list[1 : len(list)-1]))
	}
	d.Oversize = f.oversize()
	d.Window = f.window()
	d.AccountID = f.accountID(d.Account)
	if f.err != nil {
		return TransactionsFetched{}, refuse(fault.Malformed, what, f.err)
	}
	return d, nil
}

// container returns a required object or array, raw.
func (f *fields) container(name string, kind jsontext.Kind) jsontext.Value {
	v, ok := f.value(name)
	if !ok {
		f.failf(name, "missing")
		return nil
	}
	if v.Kind() != kind {
		f.failf(name, "must be %s, is %s", kindName(kind), kindName(v.Kind()))
		return nil
	}
	return v
}

func (f *fields) window() Window {
	raw := f.container("window", jsontext.KindBeginObject)
	if raw == nil {
		return Window{}
	}
	obj, fe := parseOwn(raw, "window")
	inner := fields{obj: obj, path: "window/", err: fe}
	w := Window{Since: inner.text("since", MaxID), Until: inner.text("until", MaxID)}
	if inner.err != nil {
		f.err = inner.err
	}
	return w
}

func (f *fields) oversize() []OversizeObject {
	if _, ok := f.value("oversize"); !ok {
		return nil
	}
	var refs []OversizeObject
	for i, raw := range elements(f.container("oversize", jsontext.KindBeginArray)) {
		path := "oversize/" + strconv.Itoa(i)
		obj, fe := parseOwn(raw, path)
		inner := fields{obj: obj, path: path + "/", err: fe}
		ref := OversizeObject{
			Object: inner.requiredText("object", MaxID), Bucket: inner.requiredText("bucket", MaxID), SHA256: inner.requiredText("sha256", MaxID),
			Bytes: inner.requiredInteger("bytes"), Index: inner.requiredInteger("index"),
		}
		if inner.err != nil {
			f.err = inner.err
			return nil
		}
		refs = append(refs, ref)
	}
	return refs
}

func (f *fields) requiredInteger(name string) int {
	n := f.integer(name, 0, 1<<31-1)
	if n == nil {
		f.failf(name, "missing")
		return 0
	}
	return *n
}

func (f *fields) accountID(account []byte) string {
	if account == nil {
		return ""
	}
	obj, fe := parseOwn(account, "account")
	inner := fields{obj: obj, path: "account/", err: fe}
	id := inner.text("account_id", MaxID)
	if inner.err != nil {
		f.err = inner.err
	}
	return id
}
