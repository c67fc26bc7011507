package events_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/secret"
)

func TestOutputsAreReadBackAsTheyWereWritten(t *testing.T) {
	for stem, o := range outputs() {
		t.Run(stem, func(t *testing.T) {
			o.ReplayID = "r-1"
			body := o.AppendJSON(nil)
			if len(body) > o.Size() {
				t.Errorf("%d bytes, Size says %d", len(body), o.Size())
			}
			if !json.Valid(body) {
				t.Fatalf("not JSON: %s", body)
			}
			got, err := events.ParseOutput(events.Message{Subject: "replay.here", Data: body})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, o) {
				t.Errorf("got  %+v\nwant %+v", got, o)
			}
			wants := map[string]string{"Content-Type": "application/cloudevents+json", "Nats-Msg-Id": o.ID}
			user := ""
			if events.HasConnection(o.Type) {
				wants["traceparent"], wants["tracestate"], wants["Finx-Connection-Id"] = traceParent, "vendor=1", connectionID
				user = "alice@example.com"
			}
			if got.UserID() != user {
				t.Errorf("user %q", got.UserID())
			}
			h := events.HeadersFor(o)
			if len(h) != len(wants) {
				t.Errorf("headers %v, want %v", h, wants)
			}
			for name, want := range wants {
				if v := h[name]; len(v) != 1 || v[0] != want {
					t.Errorf("header %s: %q, want %q", name, v, want)
				}
			}
		})
	}
}

func TestFinXBytesLeaveAsTheyCame(t *testing.T) {
	odd := fetchedPart() // what no JSON encoder would leave alone, or even accept
	odd.Account = []byte(`{ "account_id":"A1","a":1,"a":2 , "n":1.50E+3,"s":"\u00e9\/<&>` + "\xff" + `"}`)
	odd.Transactions = []byte(`{"amount":-0.10} ,` + "\n\t" + `{"amount":100000000000000000000.010}`)
	for name, d := range map[string]events.TransactionsFetched{"usual": fetchedPart(), "odd": odd} {
		o := events.NewTransactionsFetched(cause, d)
		body := o.AppendJSON([]byte("before"))
		if !bytes.HasPrefix(body, []byte(`before{"specversion"`)) || !bytes.Contains(body, d.Account) ||
			!bytes.Contains(body, []byte("["+string(d.Transactions)+"]")) {
			t.Errorf("%s: %s", name, body)
		}
		parsed, err := events.ParseOutput(events.Message{Data: body[len("before"):]})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := events.DecodeTransactionsFetched(parsed)
		if err != nil || string(got.Account) != string(d.Account) || string(got.Transactions) != string(d.Transactions) ||
			got.Window != d.Window || got.SyncedAt != d.SyncedAt || got.Part != d.Part || got.UserID != d.UserID {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestAnEmptyAccountIsAnEmptyList(t *testing.T) {
	d := fetchedPart()
	d.Transactions, d.Window, d.SyncedAt = nil, events.Window{}, ""
	o := events.NewTransactionsFetched(cause, d)
	if !bytes.HasSuffix(o.Data, []byte(`"window":{},"transactions":[]}`)) {
		t.Errorf("%s", o.Data)
	}
	if err := conforms(compile(t, o.Type), o.Data); err != nil {
		t.Error(err)
	}
	if got, err := events.DecodeTransactionsFetched(o); err != nil || len(got.Transactions) != 0 || got.AccountID != "A12345.6" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestIDsAreTheSameForTheSameContentOnly(t *testing.T) {
	first, again := outputs(), outputs()
	ids := map[string]string{}
	for stem, o := range first {
		if o.ID != again[stem].ID || !events.IsUUID(o.ID) {
			t.Errorf("%s: %s then %s", stem, o.ID, again[stem].ID)
		}
		if other, taken := ids[o.ID]; taken {
			t.Errorf("%s has the id of %s", stem, other)
		}
		ids[o.ID] = stem
	}
	base := fetchedPart()
	for name, change := range map[string]func(*events.TransactionsFetched){
		"fetch":        func(d *events.TransactionsFetched) { d.FetchID = connectionID },
		"account id":   func(d *events.TransactionsFetched) { d.AccountID = "A2" },
		"part":         func(d *events.TransactionsFetched) { d.Part = 1 },
		"account":      func(d *events.TransactionsFetched) { d.Account = []byte(`{}`) },
		"since":        func(d *events.TransactionsFetched) { d.Window.Since = "2026-08-25" },
		"until":        func(d *events.TransactionsFetched) { d.Window.Until = "2026-11-23" },
		"transactions": func(d *events.TransactionsFetched) { d.Transactions = []byte(`{}`) },
		"bytes moved":  func(d *events.TransactionsFetched) { d.Window = events.Window{Since: "2026-08-242026-11-22"} },
	} {
		d := base
		change(&d)
		if events.NewTransactionsFetched(cause, d).ID == events.NewTransactionsFetched(cause, base).ID {
			t.Errorf("another %s, the same id", name)
		}
	}
	otherCause := events.NewTransactionsFetched(events.Cause{ID: "evt-2"}, base)
	if otherCause.ID != events.NewTransactionsFetched(cause, base).ID {
		t.Error("a redelivery under another cause made another part of it")
	}
	renewed := events.WidgetLinkCreated{ConnectionID: connectionID, Location: secret.New("https://widget.example/?token=2")}
	if events.NewWidgetLinkCreated(cause, renewed).ID != first["widget_link_created"].ID {
		t.Error("a request handled again made a second event of it")
	}
	if events.NewConnectionErased(cause, events.ConnectionErased{ConnectionID: connectionID}).ID != first["connection_erased"].ID {
		t.Error("erasing again is another event")
	}
}

func TestIDsOfConnectionsAndFetches(t *testing.T) {
	a, b := events.Envelope{ID: "1", Source: "/a"}, events.Envelope{ID: "1", Source: "/b"}
	ids := map[string]bool{
		events.ConnectionID(a): true, events.ConnectionID(b): true, events.FetchID(a): true, events.FetchID(b): true,
		events.UUIDv5("ab", "c"): true, events.UUIDv5("a", "bc"): true, events.UUIDv5("abc"): true, events.UUIDv5(): true, events.NewUUID(): true,
	}
	if len(ids) != 9 {
		t.Errorf("%d distinct ids of 9", len(ids))
	}
	for id := range ids {
		if !events.IsUUID(id) {
			t.Errorf("%s is no UUID", id)
		}
	}
	// Published ids depend on these: a change here breaks every stored event.
	if got, want := events.ConnectionID(a), "a9c9bc34-6970-52e5-9a29-356116da1dae"; got != want {
		t.Errorf("connection id %s, was %s", got, want)
	}
	for _, s := range []string{"", "x", strings.ToUpper(connectionID), "{" + connectionID + "}", "urn:uuid:" + connectionID, strings.ReplaceAll(connectionID, "-", "")} {
		if events.IsUUID(s) {
			t.Errorf("%q counts as a UUID", s)
		}
	}
}

func TestOutputsAreReadAsDownstreamWouldReadThem(t *testing.T) {
	for stem, target := range map[string]any{
		"widget_link_created": &events.WidgetLinkCreated{}, "connection_established": &events.ConnectionEstablished{},
		"connection_failed": &events.ConnectionFailed{}, "connection_expiring": &events.ConnectionExpiring{},
		"reauthorization_required": &events.ReauthorizationRequired{}, "connection_erased": &events.ConnectionErased{},
		"fetch_completed": &events.FetchCompleted{}, "fetch_failed": &events.FetchFailed{},
	} {
		if err := json.Unmarshal(outputs()[stem].Data, target); err != nil {
			t.Errorf("%s: %v", stem, err)
		}
		if v := reflect.ValueOf(target).Elem(); v.FieldByName("ConnectionID").String() != connectionID || v.FieldByName("UserID").String() != "alice@example.com" {
			t.Errorf("%s: %+v", stem, target)
		}
	}
}

func TestOwnEventsAreReadLeniently(t *testing.T) {
	body := strings.Replace(string(golden(t, "connection_failed")), `"detail":"`, `"detail":"","detail":"`, 1)
	if _, err := events.ParseOutput(events.Message{Data: []byte(body)}); err != nil {
		t.Errorf("a name twice in data: %v", err)
	}
}

func TestParseOutputNamesWhatIsWrong(t *testing.T) {
	good := string(golden(t, "connection_failed"))
	for old, tc := range map[string]struct{ now, field string }{
		`"specversion":"1.0"`:           {`"specversion":"1.1"`, "specversion"},
		`"source":"/finx-connector"`:    {`"source":"/other"`, "source"},
		`"type":"connection.failed"`:    {`"type":"callback.received"`, "type"},
		`"time":"2026-`:                 {`"time":"x2026-`, "time"},
		`"data":{`:                      {`"data":1,"x":{`, "data"},
		`"subject":"7d0f6d3c-`:          {`"subject":{},"x":"`, "subject"},
		`"detail":"the callback was 61`: {`"detail":"\x`, "detail: not JSON"},
	} {
		bad := strings.Replace(good, old, tc.now, 1)
		if bad == good {
			t.Fatalf("%q is not in the golden", old)
		}
		_, err := events.ParseOutput(events.Message{Data: []byte(bad)})
		if err == nil || !strings.Contains(err.Error(), tc.field) {
			t.Errorf("%s: %v, want %s named", tc.now, err, tc.field)
		}
	}
	for _, data := range []string{
		`{"connection_id":"x"}`, `{"connection_id":"x","fetch_id":"f","account":[],"transactions":[]}`,
		`{"connection_id":"x","fetch_id":"f","account":{},"transactions":{}}`, `{"connection_id":"x","fetch_id":"f","account":{},"transactions":[],"window":"w"}`,
		`{"connection_id":"x","fetch_id":"f","account":{"account_id":1},"transactions":[],"window":{}}`, `[]`,
	} {
		if d, err := events.DecodeTransactionsFetched(events.Output{Type: events.TypeTransactionsFetched, Data: []byte(data)}); err == nil {
			t.Errorf("%s: %+v", data, d)
		}
	}
	if _, err := events.DecodeTransactionsFetched(events.Output{Type: events.TypeFetchFailed, Data: []byte(`{}`)}); err == nil {
		t.Error("another type was read")
	}
}

func TestANewOutputIsStampedInUTC(t *testing.T) {
	o := outputs()["fetch_failed"]
	if o.Time.Location() != time.UTC || time.Since(o.Time) > time.Minute {
		t.Errorf("time %v", o.Time)
	}
}

func BenchmarkAppendJSON512KiB(b *testing.B) {
	d := fetchedPart()
	d.Transactions = bytes.Repeat([]byte(`{"transaction_id":"T1","amount":-23.90},`), 512<<10/40)
	d.Transactions = d.Transactions[:len(d.Transactions)-1]
	o := events.NewTransactionsFetched(cause, d)
	buf := make([]byte, 0, o.Size())
	b.SetBytes(int64(len(o.Data)))
	b.ReportAllocs()
	for b.Loop() {
		buf = o.AppendJSON(buf[:0])
	}
}

func BenchmarkNewTransactionsFetched512KiB(b *testing.B) {
	d := fetchedPart()
	d.Transactions = bytes.Repeat([]byte(`{"transaction_id":"T1","amount":-23.90},`), 512<<10/40)
	d.Transactions = d.Transactions[:len(d.Transactions)-1]
	buf := make([]byte, 0, len(d.Transactions)+4096)
	b.SetBytes(int64(len(d.Transactions)))
	b.ReportAllocs()
	for b.Loop() {
		_ = events.NewTransactionsFetchedIn(buf, cause, d)
	}
}
