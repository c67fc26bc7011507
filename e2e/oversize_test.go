package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// TestTransactionsLargerThanAMessage fetches an account with one transaction of
// 3 MiB and one of 700 KiB between small ones, past a broker that takes 1 MiB in a
// message, and puts it together again from the events and the object store.
func TestTransactionsLargerThanAMessage(t *testing.T) {
	const first, second, user = 301, 45, "oversize@example.com"
	r := newRig(t, options{
		memory: true, env: map[string]string{"FINX_RETRY_BUDGET": "0s"},
		sandbox: finxtest.Options{Shape: finxtest.Shape{PerAccount: []int{first, second}, HugeBytes: []int{3 << 20, 700 << 10}}},
	})
	r.start()
	// The first run stores everything of the first account and fails in the second:
	// the same fetch has to be made once more.
	r.fault(finxtest.Fault{Call: "transactions", Nth: 2, Status: 502, HTML: "<html>Bad Gateway"})
	link, completed := r.establish(user)
	if served := r.sandbox.Stats().TransactionsServed; served != 2*first+second {
		t.Fatalf("%d transactions served: the fetch was not made twice", served)
	}
	if n := len(r.seen.of(events.TypeTransactionsFetched, link.ConnectionID)); n != len(completed.EventIDs) {
		t.Errorf("%d parts are stored, %d make up the fetch: the second run had other ids", n, len(completed.EventIDs))
	}
	sizes := r.reassemble(user, completed, first+second)
	if !slices.Equal(sizes, []int{3 << 20, 700 << 10}) {
		t.Errorf("objects of %v bytes", sizes)
	}
	stored := r.objectsState()
	if wantMsgs := uint64(3<<20/(128<<10) + 6 + 2); stored.Msgs != wantMsgs || stored.LastSeq != wantMsgs {
		t.Errorf("%d messages up to %d in the object store, want %d", stored.Msgs, stored.LastSeq, wantMsgs)
	}
	r.send(events.TypeSyncRequested, syncData(link.ConnectionID))
	again := r.completed(link.ConnectionID, 2)
	if sizes := r.reassemble(user, again, first+second); len(sizes) != 2 {
		t.Errorf("objects of %v bytes in the second fetch", sizes)
	}
	if now := r.objectsState(); now.LastSeq != stored.LastSeq {
		t.Errorf("the second fetch wrote %d messages into the object store", now.LastSeq-stored.LastSeq)
	}
	if letters := r.seen.lettersSoFar(); len(letters) > 0 {
		t.Errorf("%d dead letters, the first: %s", len(letters), header(letters[0], "Dlq-Error"))
	}
}

// reassemble compares every account of a fetch with what the sandbox serves, byte
// for byte, and returns the sizes of the objects it had to read for that.
func (r *rig) reassemble(user string, completed event, want int) (sizes []int) {
	r.t.Helper()
	objects, err := r.js.ObjectStore(r.t.Context(), events.ObjectsOversize)
	if err != nil {
		r.t.Fatal(err)
	}
	accounts, windows := map[string]*stream{}, map[string]events.Window{}
	for _, part := range r.parts(completed) {
		if n := len(part.Message.Data); n > 512<<10 {
			r.t.Errorf("part %s has %d bytes", part.ID, n)
		}
		d, err := events.DecodeTransactionsFetched(part.Output)
		if err != nil {
			r.t.Fatal(err)
		}
		if accounts[d.AccountID] == nil {
			accounts[d.AccountID], windows[d.AccountID] = newStream(), d.Window
		}
		accounts[d.AccountID].take(r.splice(objects, d))
		for _, ref := range d.Oversize {
			sizes = append(sizes, ref.Bytes)
		}
	}
	token := connected(r.t, r.base, user, r.approve)
	total := 0
	for _, account := range completed.Accounts {
		got, served := accounts[account.AccountID], newStream()
		everything(r.t, r.base, token, account.AccountID, windows[account.AccountID], served.take)
		if got == nil || got.String() != served.String() || got.count != account.Transactions {
			r.t.Errorf("account %s is not byte for byte what the sandbox serves", account.AccountID)
		}
		total += account.Transactions
	}
	if total != want || string(completed.Transactions) != strconv.Itoa(want) {
		r.t.Errorf("%d transactions, said are %s, want %d", total, completed.Transactions, want)
	}
	return sizes
}

// splice returns the whole list of a part, joined by commas, as its schema tells.
func (r *rig) splice(objects jetstream.ObjectStore, d events.TransactionsFetched) []byte {
	r.t.Helper()
	var small []json.RawMessage
	if err := json.Unmarshal(slices.Concat([]byte{'['}, d.Transactions, []byte{']'}), &small); err != nil {
		r.t.Fatal(err)
	}
	list := make([][]byte, 0, len(small)+len(d.Oversize))
	for _, tx := range small {
		list = append(list, tx)
	}
	for _, ref := range d.Oversize {
		raw, err := objects.GetBytes(r.t.Context(), ref.Object)
		if err != nil {
			r.t.Fatalf("reading %s: %v", ref.Object, err)
		}
		if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != ref.SHA256 || len(raw) != ref.Bytes {
			r.t.Errorf("%+v refers to %d bytes of digest %x", ref, len(raw), sum)
		}
		list = slices.Insert(list, ref.Index, raw)
	}
	return bytes.Join(list, []byte{','})
}

func (r *rig) objectsState() jetstream.StreamState {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), "OBJ_"+events.ObjectsOversize)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.CachedInfo().State
}
