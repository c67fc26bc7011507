package custody_test

import (
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// finX has answered the value of what a newer program sealed. An older one cannot
// open it, and must not spend the value again: it waits and touches nothing.
func TestANewerAnswerInEscrowIsWaitedFor(t *testing.T) {
	r := newRig(t, finxtest.Options{RevokeOnReuse: true})
	bucket := &shelf{}
	e := &custody.Escrow{Keys: staticKeys(t, escrowKeyText(1)), Bucket: bucket}
	id := r.established()
	r.expire(id)
	r.abandoned(e, id, bucket)
	r.store.hook(nil)
	r.locks.off = true // its lease has run out
	key := bucket.keys()[0]
	sealed, _, _ := bucket.Get(t.Context(), key)
	newer := []byte(strings.Replace(string(sealed), `{"v":1,`, `{"v":2,`, 1))
	if err := bucket.Put(t.Context(), key, newer); err != nil {
		t.Fatal(err)
	}
	before, _ := r.record(id)
	other := r.keyed("replica-2", e)
	if home, err := other.BringHome(t.Context()); err != nil || home.Waiting != 1 || home.Unreadable != 1 {
		t.Errorf("%+v, %v", home, err)
	}
	_, err := other.Access(t.Context(), id)
	if fault.Of(err) != fault.WaitUntil || fault.DependencyOf(err) != "" || !strings.Contains(err.Error(), "a newer version of the program sealed it") {
		t.Errorf("%v", err)
	}
	if after, _ := r.record(id); after.Rotation != before.Rotation || r.sandbox.Stats().Refreshes != 1 {
		t.Errorf("rotation %d, was %d; %d refreshes", after.Rotation, before.Rotation, r.sandbox.Stats().Refreshes)
	}
	if got, found, _ := bucket.Get(t.Context(), key); !found || string(got) != string(newer) {
		t.Error("the answer was touched")
	}
	// Upgraded, it is brought home.
	if err := bucket.Put(t.Context(), key, sealed); err != nil {
		t.Fatal(err)
	}
	if _, err := r.keyed("replica-3", e).Access(t.Context(), id); err != nil {
		t.Error(err)
	}
	if s := r.sandbox.Stats(); s.Refreshes != 1 || s.RefreshesReused != 0 {
		t.Errorf("refreshes %d, reuses %d", s.Refreshes, s.RefreshesReused)
	}
}
