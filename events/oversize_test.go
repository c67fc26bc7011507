package events_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/events"
)

// whole is the list of which oversizePart is the event; the large ones are where
// a list can have them: first, two in a row, in the middle, and last.
func whole() (list []string, large []int) {
	big := func(id string) string {
		return `{ "transaction_id":"` + id + `", "amount":  1.10,"text":"` + strings.Repeat("\\u00e9\\/<&>", 100) + `"}`
	}
	return []string{
		big("B0"), big("B1"), `{"transaction_id":"T2","amount":-0.10}`, big("B3"), `{"transaction_id":"T4", "amount": 1e2}`, big("B5"),
	}, []int{0, 1, 3, 5}
}

func oversizePart() events.TransactionsFetched {
	list, large := whole()
	d := fetchedPart()
	var small []string
	for i, tx := range list {
		if slices.Contains(large, i) {
			d.Oversize = append(d.Oversize, events.NewOversizeObject(sha256.Sum256([]byte(tx)), len(tx), i))
			continue
		}
		small = append(small, tx)
	}
	d.Transactions = []byte(strings.Join(small, ","))
	return d
}

// splice does what the schema tells downstream to do.
func splice(t *testing.T, transactions []byte, refs []events.OversizeObject, get func(events.OversizeObject) []byte) []string {
	t.Helper()
	var raw []json.RawMessage
	if err := json.Unmarshal(slices.Concat([]byte{'['}, transactions, []byte{']'}), &raw); err != nil {
		t.Fatal(err)
	}
	list := make([]string, len(raw))
	for i, tx := range raw {
		list[i] = string(tx)
	}
	for _, r := range refs {
		list = slices.Insert(list, r.Index, string(get(r)))
	}
	return list
}

func TestOversizeIsSplicedBack(t *testing.T) {
	want, _ := whole()
	store := map[string][]byte{}
	for _, tx := range want {
		sum := sha256.Sum256([]byte(tx))
		store["sha256-"+hex.EncodeToString(sum[:])] = []byte(tx)
	}
	m := events.Message{Data: events.NewTransactionsFetched(cause, oversizePart()).AppendJSON(nil)}
	o, err := events.ParseOutput(m)
	if err != nil {
		t.Fatal(err)
	}
	d, err := events.DecodeTransactionsFetched(o)
	if err != nil || !reflect.DeepEqual(d.Oversize, oversizePart().Oversize) {
		t.Fatalf("%+v, %v", d.Oversize, err)
	}
	got := splice(t, d.Transactions, d.Oversize, func(r events.OversizeObject) []byte {
		if r.Bucket != "finx_oversize" || r.Bytes != len(store[r.Object]) || r.Object != "sha256-"+r.SHA256 {
			t.Errorf("reference %+v", r)
		}
		return store[r.Object]
	})
	if !slices.Equal(got, want) {
		t.Errorf("spliced %q, want %q", got, want)
	}
}

func TestAPartWithoutOversizeHasNoSuchMember(t *testing.T) {
	d := fetchedPart()
	plain := events.NewTransactionsFetched(cause, d)
	d.Oversize = []events.OversizeObject{}
	if o := events.NewTransactionsFetched(cause, d); o.ID != plain.ID || !bytes.Equal(o.Data, plain.Data) || bytes.Contains(o.Data, []byte("oversize")) {
		t.Errorf("an empty list makes another event: %s", o.Data)
	}
}

func TestOversizeIsPartOfTheID(t *testing.T) {
	ids := map[string]string{events.NewTransactionsFetched(cause, fetchedPart()).ID: "none"}
	for name, change := range map[string]func(*events.OversizeObject){
		"as it is": func(*events.OversizeObject) {},
		"content": func(r *events.OversizeObject) {
			*r = events.NewOversizeObject(sha256.Sum256([]byte("other")), r.Bytes, r.Index)
		},
		"place": func(r *events.OversizeObject) { r.Index = 2 },
	} {
		d := oversizePart()
		change(&d.Oversize[1])
		id := events.NewTransactionsFetched(cause, d).ID
		if other, taken := ids[id]; taken {
			t.Errorf("%s has the id of %s", name, other)
		}
		ids[id] = name
	}
}

func TestAReferenceIsNeverLargerThanItsBound(t *testing.T) {
	d := fetchedPart()
	without := len(events.NewTransactionsFetched(cause, d).Data)
	d.Oversize = []events.OversizeObject{events.NewOversizeObject(sha256.Sum256(nil), 1<<31-1, 1<<31-1)}
	if n := len(events.NewTransactionsFetched(cause, d).Data) - without; n > events.MaxOversizeBytes {
		t.Errorf("%d bytes, the bound is %d", n, events.MaxOversizeBytes)
	}
}

func TestABrokenReferenceIsNamed(t *testing.T) {
	good := events.NewTransactionsFetched(cause, oversizePart())
	for old, tc := range map[string]struct{ now, field string }{
		`"bucket":"finx_oversize",`: {``, "oversize/0/bucket"},
		`"index":1}`:                {`"index":-1}`, "oversize/1/index"},
		`"index":3}`:                {`"bytes":1}`, "oversize/2/index: missing"},
		`"oversize":[{`:             {`"oversize":[7,{`, "oversize/0"},
		`"oversize":[`:              {`"oversize":{},"x":[`, "oversize: must be an array"},
	} {
		o := good
		o.Data = []byte(strings.Replace(string(good.Data), old, tc.now, 1))
		if _, err := events.DecodeTransactionsFetched(o); err == nil || !strings.Contains(err.Error(), tc.field) {
			t.Errorf("%s: %v, want %s named", tc.now, err, tc.field)
		}
	}
}

func TestTheSchemaKnowsReferences(t *testing.T) {
	s := compile(t, events.TypeTransactionsFetched)
	good := string(events.NewTransactionsFetched(cause, oversizePart()).Data)
	for old, now := range map[string]string{
		`"bucket":"finx_oversize",`: ``, `"index":1}`: `"index":-1}`, `"sha256":"`: `"sha256":"x`, `"bytes":`: `"bytes":0,"x":`,
	} {
		if bad := strings.Replace(good, old, now, 1); bad == good || conforms(s, []byte(bad)) == nil {
			t.Errorf("%s in place of %s conforms", now, old)
		}
	}
}
