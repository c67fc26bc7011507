package custody_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// openMark leaves the mark of a process that died between mark and answer.
func (r *rig) openMark(id, kind, sha256 string, age time.Duration) {
	r.t.Helper()
	rec, v, err := r.store.Memory.Get(r.t.Context(), id)
	if err != nil && !errors.Is(err, vaultstore.ErrNotFound) {
		r.t.Fatal(err)
	}
	rec.Pending = &vaultstore.Pending{Kind: kind, Holder: "replica-dead", StartedAt: time.Now().Add(-age), Attempt: 1, SHA256: sha256}
	if _, err := r.store.Memory.Put(r.t.Context(), id, rec, v); err != nil {
		r.t.Fatal(err)
	}
}

func TestResolveSpendsAnAbandonedTokenOnceMore(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := r.established()
	if err := r.keeper.Resolve(t.Context(), id, time.Hour); err != nil || r.sandbox.Stats().Refreshes != 0 {
		t.Fatalf("nothing is open: %v, %d refreshes", err, r.sandbox.Stats().Refreshes)
	}
	rec, _ := r.record(id)
	r.openMark(id, "refresh", rec.RefreshToken.SHA256(), time.Second)
	if err := r.keeper.Resolve(t.Context(), id, time.Hour); fault.Of(err) != fault.WaitUntil {
		t.Errorf("a young mark: %v, want to wait", err)
	}
	r.ageMark(id)
	if err := r.keeper.Resolve(t.Context(), id, time.Hour); err != nil {
		t.Fatal(err)
	}
	r.works(id)
	if n := r.sandbox.Stats().Refreshes; n != 1 {
		t.Errorf("%d refreshes, want 1", n)
	}
}

func TestResolveFindsTheTokenLost(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := r.established()
	rec, _ := r.record(id)
	if _, err := r.client.Refresh(t.Context(), rec.RefreshToken); err != nil { // the dead process's call
		t.Fatal(err)
	}
	r.openMark(id, "refresh", rec.RefreshToken.SHA256(), time.Hour)
	for range 2 { // the second time from what is kept with the mark
		if err := r.keeper.Resolve(t.Context(), id, time.Hour); !errors.Is(err, custody.ErrRotationUnknown) {
			t.Fatalf("%v, want the outcome unknown", err)
		}
	}
	if n := r.sandbox.Stats().RefreshesReused; n != 1 {
		t.Errorf("the lost token was sent %d times, want once", n)
	}
}

func TestResolveWaitsForACallbackThenGivesUp(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id, code := events.NewUUID(), r.code()
	r.openMark(id, "exchange", code.SHA256(), 10*time.Minute)
	err := r.keeper.Resolve(t.Context(), id, time.Hour)
	if until, ok := fault.Until(err); !ok || time.Until(until) < 45*time.Minute {
		t.Errorf("%v: the code lives for another 50 minutes and its callback may come again", err)
	}
	if rec, _ := r.record(id); rec.Pending == nil || rec.Pending.SHA256 != code.SHA256() || rec.Pending.Outcome != "" {
		t.Errorf("the mark is %+v, want it open", rec.Pending)
	}
	r.openMark(id, "exchange", code.SHA256(), 2*time.Hour)
	for range 2 {
		if err := r.keeper.Resolve(t.Context(), id, time.Hour); !errors.Is(err, custody.ErrExchangeUnknown) {
			t.Errorf("%v, want the outcome unknown", err)
		}
	}
}

func TestRotateLeavesYoungTokensAlone(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := r.established()
	r.expire(id) // of the access token; the keep-alive does not care for it
	before, _ := r.record(id)
	if g, err := r.keeper.Rotate(t.Context(), id, before.RefreshObtainedAt); err != nil || !g.RefreshObtainedAt.Equal(before.RefreshObtainedAt) {
		t.Fatalf("%v, %v", g.RefreshObtainedAt, err)
	}
	if n := r.sandbox.Stats().Refreshes; n != 0 {
		t.Errorf("%d refreshes of a token that is young enough", n)
	}
	g, err := r.keeper.Rotate(t.Context(), id, before.RefreshObtainedAt.Add(time.Nanosecond))
	if err != nil || !g.RefreshObtainedAt.After(before.RefreshObtainedAt) {
		t.Fatalf("%v, %v", g.RefreshObtainedAt, err)
	}
	r.works(id)
	if _, err := r.keeper.Rotate(t.Context(), events.NewUUID(), time.Now()); !errors.Is(err, custody.ErrNoTokens) {
		t.Errorf("no secret: %v", err)
	}
}

func TestReconsiderAsksOnceMoreAfterARefusal(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := r.established()
	r.expire(id)
	r.fault(finxtest.Fault{Call: "token.refresh", Status: http.StatusBadRequest, Times: 1, Body: `{"error":"invalid_grant"}`})
	for range 2 {
		if _, err := r.keeper.Access(t.Context(), id); !errors.Is(err, custody.ErrRefreshRejected) {
			t.Fatalf("%v, want rejected", err)
		}
	}
	if err := r.keeper.Reconsider(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := r.keeper.Access(t.Context(), id); err != nil {
		t.Errorf("after the user's renewal: %v", err)
	}
	r.works(id)
}

func TestNeverReplayEndsInUnknown(t *testing.T) {
	r := newRig(t, finxtest.Options{Grace: time.Hour}) // a repetition would work
	k, err := custody.New(custody.Config{
		Secrets: r.store, Tokens: r.client, Lock: r.locks.lock, Holder: "careful", Replay: custody.ReplayNever,
		RefreshSkew: time.Minute, CallLimit: 2 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	lost, left := r.established(), r.established()
	r.expire(lost)
	r.fault(finxtest.Fault{Call: "token.refresh", Times: 1, Drop: "after"})
	for range 2 {
		if _, err := k.Access(t.Context(), lost); !errors.Is(err, custody.ErrRotationUnknown) {
			t.Errorf("own call without an answer: %v", err)
		}
	}
	r.expire(left)
	rec, _ := r.record(left)
	r.openMark(left, "refresh", rec.RefreshToken.SHA256(), time.Hour)
	if _, err := k.Access(t.Context(), left); !errors.Is(err, custody.ErrRotationUnknown) {
		t.Errorf("a dead process's call without an answer: %v", err)
	}
	if n := r.sandbox.Stats().Refreshes; n != 1 {
		t.Errorf("%d calls were answered, want only the lost one", n)
	}
}

func TestBadConfigurationIsRefused(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	good := custody.Config{
		Secrets: r.store, Tokens: r.client, Lock: r.locks.lock, Holder: "h", CallLimit: time.Second, Logger: slog.New(slog.DiscardHandler),
	}
	for name, spoil := range map[string]func(*custody.Config){
		"policy": func(c *custody.Config) { c.Replay = "sometimes" },
		"escrow": func(c *custody.Config) { c.Escrow = &custody.Escrow{} },
		"holder": func(c *custody.Config) { c.Holder = "" },
		"limit":  func(c *custody.Config) { c.CallLimit = 0 },
		"lock":   func(c *custody.Config) { c.Lock = nil },
	} {
		c := good
		spoil(&c)
		if _, err := custody.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// noKeys is a Vault without the key, or out of reach.
type noKeys struct{ err error }

func (n noKeys) DataKey(context.Context) (plain []byte, wrapped string, err error) {
	return nil, "", n.err
}
func (n noKeys) OpenKey(context.Context, string) ([]byte, error) { return nil, n.err }

func TestNoKeyNoCall(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := r.established()
	r.expire(id)
	away := r.keyed("replica-2", &custody.Escrow{Keys: noKeys{fault.Transient(fault.Vault, errVaultDown)}, Bucket: &shelf{}})
	if _, err := away.Access(t.Context(), id); fault.Of(err) != fault.Retry || r.sandbox.Stats().Refreshes != 0 {
		t.Errorf("Vault hands out no key: %v, %d calls", err, r.sandbox.Stats().Refreshes)
	}
	none := r.keyed("replica-3", &custody.Escrow{Keys: noKeys{fault.Permanent(fault.Rejected, errors.New("no such key"))}, Bucket: &shelf{}})
	if _, err := none.Access(t.Context(), id); err != nil {
		t.Errorf("an installation without Transit: %v", err)
	}
	if none.PrepareEscrow(t.Context()) == nil {
		t.Error("nobody is told that there is no escrow")
	}
}
