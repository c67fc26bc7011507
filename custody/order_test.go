package custody_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// Stopped in its call, reads the older answer after the newer was stored.
func TestAStoppedHolderDoesNotOverwriteNewerTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, resume := make(chan struct{}), make(chan struct{})
		s := newScene(t, func(n int) (finx.Tokens, error) {
			if n == 1 { // SIGSTOP: the answer waits in the socket
				close(asked)
				<-resume
				return pair("older"), nil // finx stamps time.Now() when it has read it
			}
			return pair("newer"), nil
		})
		a, b := s.keeper(t, "a", custody.Config{}), s.keeper(t, "b", custody.Config{})
		done := make(chan error)
		go func() { _, err := a.Access(t.Context(), s.id); done <- err }()
		<-asked
		time.Sleep(15 * time.Second) // 2 s + 1 s + 6 s + 5 s
		if _, err := b.Access(t.Context(), s.id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		close(resume)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		rec, _, _ := s.store.Memory.Get(t.Context(), s.id)
		if got := rec.RefreshToken.Reveal(); got != "r-newer" {
			t.Errorf("stored %s over r-newer", got)
		}
	})
}

// Replay=never and a mark whose write was ambiguous or too slow.
type slowMark struct {
	*moodyStore
	n int
}

func (s *slowMark) Put(ctx context.Context, id string, r vaultstore.Record, cas vaultstore.Version) (vaultstore.Version, error) {
	v, err := s.moodyStore.Put(ctx, id, r, cas)
	if s.n++; s.n == 1 && err == nil {
		return 0, fault.Ambiguous(fault.Vault, errors.New("timeout"))
	}
	return v, err
}

func TestNeverReplayKeepsATokenThatWasNeverSent(t *testing.T) {
	s := newScene(t, func(int) (finx.Tokens, error) { return pair("new"), nil })
	k, err := custody.New(custody.Config{
		Secrets: &slowMark{moodyStore: s.store}, Tokens: s.end, Lock: s.locks.lock, Holder: "a", Replay: custody.ReplayNever,
		RefreshSkew: time.Minute, CallLimit: 2 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Access(t.Context(), s.id)
	t.Log("first:", err)
	_, err = k.Access(t.Context(), s.id)
	if err != nil {
		t.Errorf("second: %v, after %d calls to finX", err, s.end.calls)
	}
}

// The key of a sealed answer is refused for a while.
type forbidden struct{ custody.DataKeys }

func (f forbidden) OpenKey(context.Context, string) ([]byte, error) {
	return nil, fault.Permanent(fault.Rejected, errors.New("403: the policies do not let us use the transit key"))
}

func TestAnAnswerWhoseKeyIsAwayIsWaitedFor(t *testing.T) {
	r := newRig(t, finxtest.Options{RevokeOnReuse: true})
	bucket := &shelf{}
	e := &custody.Escrow{Keys: staticKeys(t, escrowKeyText(1)), Bucket: bucket}
	id := r.established()
	r.expire(id)
	r.abandoned(e, id, bucket)
	r.ageMark(id)
	r.store.hook(nil)
	r.store.hook(func(n int) error { return nil })
	r.locks.off = true
	other := r.keyed("replica-2", &custody.Escrow{Keys: forbidden{e.Keys}, Bucket: bucket})
	_, err := other.Access(t.Context(), id)
	st := r.sandbox.Stats()
	if st.RefreshesReused != 0 {
		t.Errorf("%v; reused %d, families revoked %d, copies that an operator could still have opened: %d", err, st.RefreshesReused, st.FamiliesRevoked, len(bucket.keys()))
	}
}

// Two answers to one value, one in each place.
type refusing struct {
	*moodyStore
	mu sync.Mutex
	n  int
}

func (f *refusing) Put(ctx context.Context, id string, r vaultstore.Record, cas vaultstore.Version) (vaultstore.Version, error) {
	f.mu.Lock()
	f.n++
	n := f.n
	f.mu.Unlock()
	if n > 1 {
		return 0, fault.Transient(fault.Vault, errVaultDown)
	}
	return f.moodyStore.Put(ctx, id, r, cas)
}

func TestOfTwoCopiesTheNewerCounts(t *testing.T) {
	n := 0
	s := newScene(t, func(int) (finx.Tokens, error) {
		n++
		return pair(map[int]string{1: "older", 2: "newer"}[n]), nil
	})
	spool, bucket, none := &shelf{}, &shelf{}, &shelf{fail: errors.New("away")}
	keys := staticKeys(t, escrowKeyText(1))
	mk := func(holder string, e *custody.Escrow) *custody.Keeper {
		k, err := custody.New(custody.Config{
			Secrets: &refusing{moodyStore: s.store}, Tokens: s.end, Lock: s.locks.lock, Holder: holder, Escrow: e,
			RefreshSkew: time.Minute, CallLimit: 2 * time.Second, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	a := mk("a", &custody.Escrow{Keys: keys, Bucket: none, Spool: spool})
	go func() { _, _ = a.Access(context.WithoutCancel(t.Context()), s.id) }()
	natstest.Eventually(t, 5*time.Second, func() bool { return len(spool.keys()) == 1 }, "spooled")
	s.age(t)
	b := mk("b", &custody.Escrow{Keys: keys, Bucket: bucket})
	go func() { _, _ = b.Access(context.WithoutCancel(t.Context()), s.id) }()
	natstest.Eventually(t, 5*time.Second, func() bool { return len(bucket.keys()) == 1 }, "in the bucket")
	// Both are gone; Vault is back, the host of a starts again.
	home, err := s.keeper(t, "c", custody.Config{Escrow: &custody.Escrow{Keys: keys, Bucket: bucket, Spool: spool}}).BringHome(t.Context())
	rec, _, _ := s.store.Memory.Get(t.Context(), s.id)
	if got := rec.RefreshToken.Reveal(); got != "r-newer" {
		t.Errorf("%+v %v: stored %s; copies of the newer left: %d", home, err, got, len(bucket.keys()))
	}
}
