package custody_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// A later Vault may take larger records.
func TestCopiesOfTokensTooLargeAreKept(t *testing.T) {
	s := newScene(t, func(int) (finx.Tokens, error) {
		p := pair("x")
		p.AccessToken = secret.New(strings.Repeat("a", vaultstore.DefaultMaxRecordBytes+1))
		return p, nil
	})
	spool, bucket := &shelf{}, &shelf{}
	k := s.keeper(t, "a", custody.Config{Escrow: &custody.Escrow{Keys: staticKeys(t, escrowKeyText(1)), Bucket: bucket, Spool: spool}})
	_, err := k.Access(t.Context(), s.id)
	if len(spool.keys())+len(bucket.keys()) == 0 {
		t.Errorf("verdict %v, every copy of the answer deleted: %v", fault.Of(err), err)
	}
}

// Somebody stores the answer between triage's look and its write.
func TestAnAnswerStoredDuringTriageCounts(t *testing.T) {
	s := newScene(t, func(int) (finx.Tokens, error) { return finx.Tokens{}, finx.ErrInvalidGrant })
	rec, v, _ := s.store.Memory.Get(t.Context(), s.id)
	rec.Pending = &vaultstore.Pending{Kind: "refresh", Holder: "dead", StartedAt: time.Now().Add(-time.Hour), Attempt: 1, SHA256: rec.RefreshToken.SHA256()}
	if _, err := s.store.Memory.Put(t.Context(), s.id, rec, v); err != nil {
		t.Fatal(err)
	}
	s.store.hook(func(n int) error {
		if n == 2 { // the restarted host brings its spooled answer home
			rec, v, _ := s.store.Memory.Get(t.Context(), s.id)
			rec.AccessToken, rec.RefreshToken, rec.Rotation, rec.Pending = secret.New("a-1"), secret.New("r-1"), 6, nil
			rec.AccessExpiresAt = time.Now().Add(time.Hour)
			_, err := s.store.Memory.Put(t.Context(), s.id, rec, v)
			return err
		}
		return nil
	})
	if _, err := s.keeper(t, "b", custody.Config{}).Access(t.Context(), s.id); err != nil && fault.Of(err) != fault.WaitUntil {
		now, _, _ := s.store.Memory.Get(t.Context(), s.id)
		t.Errorf("told %v while %s is stored", err, now.RefreshToken.Reveal())
	}
}

// A drain's Wait returns before a flight has entered spend.
type gate struct {
	*moodyStore
	n       int
	at, let chan struct{}
}

func (g *gate) Get(ctx context.Context, id string) (vaultstore.Record, vaultstore.Version, error) {
	if g.n++; g.n == 2 {
		close(g.at)
		<-g.let
	}
	return g.moodyStore.Get(ctx, id)
}

func TestNothingBeginsAfterStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(int) (finx.Tokens, error) { return pair("new"), nil })
		g := &gate{moodyStore: s.store, at: make(chan struct{}), let: make(chan struct{})}
		k, err := custody.New(custody.Config{
			Secrets: g, Tokens: s.end, Lock: s.locks.lock, Holder: "a",
			RefreshSkew: time.Minute, CallLimit: 2 * time.Second, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := k.Rotate(ctx, s.id, time.Now())
			done <- err
		}()
		<-g.at
		cancel() // the process is told to stop
		<-done   // whoever asked has gone
		k.Stop()
		if err := k.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		close(g.let) // the drain is over, and the refresh comes to its mark
		synctest.Wait()
		if s.end.calls != 0 {
			t.Error("Wait said that nothing is under way, and then the refresh token was spent")
		}
	})
}

// Erased while the first exchange is in hand.
func TestAnErasedConnectionDoesNotComeBack(t *testing.T) {
	asked, resume := make(chan struct{}), make(chan struct{})
	s := newScene(t, func(int) (finx.Tokens, error) { close(asked); <-resume; return pair("first"), nil })
	id := events.NewUUID()
	k := s.keeper(t, "a", custody.Config{})
	done := make(chan error)
	go func() { _, err := k.Exchange(t.Context(), id, secret.New("code"), redirectURI); done <- err }()
	<-asked
	if _, err := s.store.Erase(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	close(resume)
	t.Log(<-done)
	if rec, _, err := s.store.Memory.Get(t.Context(), id); err == nil {
		t.Errorf("erased, and back again with %s", rec.RefreshToken.Reveal())
	}
}

// Vault set back to an older snapshot while the answer waited.
func TestAVaultSetBackKeepsTheCopy(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	bucket := &shelf{}
	e := &custody.Escrow{Keys: staticKeys(t, escrowKeyText(1)), Bucket: bucket}
	id := r.established()
	r.expire(id)
	old, _ := r.record(id)
	if _, err := r.keeper.Access(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	r.expire(id)
	r.abandoned(e, id, bucket)
	_, v := r.record(id)
	if _, err := r.store.Memory.Put(t.Context(), id, old, v); err != nil { // last night's snapshot
		t.Fatal(err)
	}
	r.store.hook(nil)
	home, err := r.keyed("replica-2", e).BringHome(t.Context())
	if home.Stored != 1 {
		t.Errorf("%+v %v, left in escrow: %d", home, err, len(bucket.keys()))
	}
}
