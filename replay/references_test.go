package replay_test

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/replay"
)

// References to large objects are replayed as they are, and those that lead
// nowhere are counted.
func TestReferencesThatLeadNowhereAreCounted(t *testing.T) {
	r := newRig(t, setup{})
	store, err := r.js.ObjectStore(t.Context(), events.ObjectsOversize)
	if err != nil {
		t.Fatal(err)
	}
	var refs []events.OversizeObject
	for i, object := range []string{`{"purpose":"there"}`, `{"purpose":"gone"}`} {
		ref := events.NewOversizeObject(sha256.Sum256([]byte(object)), len(object), i)
		refs = append(refs, ref)
		if i == 0 {
			if _, err := store.PutBytes(t.Context(), ref.Object, []byte(object)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := range 3 {
		r.output(events.NewTransactionsFetched(events.Cause{}, events.TransactionsFetched{
			ConnectionID: id(1), UserID: "alice", FetchID: id(n), AccountID: "A1", Account: []byte(`{"account_id":"A1"}`), Oversize: refs,
		}))
	}
	r.output(events.NewTransactionsFetched(events.Cause{}, events.TransactionsFetched{ // finX's own words
		ConnectionID: id(1), UserID: "alice", FetchID: id(9), AccountID: "A1", Account: []byte(`{"account_id":"A1"}`), Transactions: []byte(`{"oversize":[{"object":"x"}]}`),
	}))
	before := r.stream(events.StreamEvents)
	if p := r.plan(replay.Request{Mode: replay.Outputs}).Planned; p.ReferencesGone != 0 {
		t.Errorf("a plan that reads no bodies knows of %d", p.ReferencesGone)
	}
	j := r.plan(replay.Request{Mode: replay.Outputs, Selection: replay.Selection{User: "alice"}})
	if j.Planned.ReferencesGone != 3 {
		t.Errorf("planned: %d references gone, want 3", j.Planned.ReferencesGone)
	}
	if result := r.run(j); result.ReferencesGone != 3 || result.Replayed != 4 {
		t.Errorf("%+v", result)
	}
	for i, m := range r.stream(events.StreamEvents)[4:8] {
		o, err := events.ParseOutput(m)
		was, wasErr := events.ParseOutput(before[i])
		if err != nil || wasErr != nil || !bytes.Equal(o.Data, was.Data) {
			t.Errorf("%d: %v: %s", i, err, o.Data)
		}
	}
}
