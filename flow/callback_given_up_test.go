package flow_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

var errOutage = fault.Transient(fault.Vault, errors.New("vault is sealed"))

// A callback older than its code whose earlier delivery died in the call: tokens
// may have been issued, which "expired" would deny.
func TestAnOldCallbackWithAnOpenExchange(t *testing.T) {
	cases := []struct {
		name, reason string
		prepare      func(r *rig, id string, code secret.Text)
	}{
		{"never sent", events.ReasonCodeExpired, func(*rig, string, secret.Text) {}},
		{"state consumed, nothing sent", events.ReasonCodeExpired, func(r *rig, _ string, code secret.Text) {
			r.must(r.records.ConsumeState(r.t.Context(), "state-1", connection.StateBinding{}, code.SHA256(), time.Now()))
		}},
		{"sent", events.ReasonExchangeOutcomeUnknown, func(r *rig, id string, code secret.Text) {
			r.must(r.records.ConsumeState(r.t.Context(), "state-1", connection.StateBinding{}, code.SHA256(), time.Now()))
			leave(r.t, r.secrets, id, "exchange", code, time.Hour+time.Minute)
		}},
		{"sent by a process that lost much time", events.ReasonExchangeOutcomeUnknown, func(r *rig, id string, code secret.Text) {
			r.must(r.records.ConsumeState(r.t.Context(), "state-1", connection.StateBinding{}, code.SHA256(), time.Now()))
			leave(r.t, r.secrets, id, "exchange", code, 10*time.Minute)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, finxtest.Options{})
			rec, link := r.connect("connect-1", "state-1")
			callback, e := r.approve(link), event("cb-1")
			e.Time = e.Time.Add(-2 * time.Hour)
			c.prepare(r, rec.ID, callback.Code)
			for range 2 {
				r.must(r.CallbackReceived(t.Context(), e, callback))
			}
			if got := r.reasons(events.TypeConnectionFailed); !slices.Equal(got, []string{c.reason}) {
				t.Errorf("reasons %v, want %s", got, c.reason)
			}
			if n := r.sandbox.Stats().Total("token.exchange"); n != 0 {
				t.Errorf("%d exchanges", n)
			}
		})
	}
}

// A young mark of another process is a call that may be under way.
func TestAnOldCallbackWaitsForACallUnderWay(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec, link := r.connect("connect-1", "state-1")
	callback, e := r.approve(link), event("cb-1")
	e.Time = e.Time.Add(-2 * time.Hour)
	r.must(r.records.ConsumeState(t.Context(), "state-1", connection.StateBinding{}, callback.Code.SHA256(), time.Now()))
	leave(t, r.secrets, rec.ID, "exchange", callback.Code, 0)
	err := r.CallbackReceived(t.Context(), e, callback)
	if until, ok := fault.Until(err); !ok || time.Until(until) > time.Minute {
		t.Errorf("error %v, want one to come back within a minute", err)
	}
	if n := len(r.published(events.TypeConnectionFailed)); n != 0 {
		t.Error("told before it could be known")
	}
}

// A callback that becomes a dead letter is news for whoever waits for it, and a
// redrive that comes through is more news.
func TestAGivenUpCallback(t *testing.T) {
	cases := []struct {
		name, reason string
		consumed     bool
		mark         time.Duration // its age; 0 = none
		vaultAway    bool
	}{
		{name: "never got as far as the code", reason: events.ReasonCodeExpired},
		{name: "nothing was sent", reason: events.ReasonCodeExpired, consumed: true},
		{name: "a call is open", reason: events.ReasonExchangeOutcomeUnknown, consumed: true, mark: 10 * time.Minute},
		{name: "nobody can say", reason: events.ReasonExchangeOutcomeUnknown, consumed: true, vaultAway: true},
		{name: "nobody needs to say", reason: events.ReasonCodeExpired, vaultAway: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			away := &away{}
			r := newRig(t, finxtest.Options{}, func(cfg *flow.Config) {
				away.Keeping = cfg.Background.Keeping
				cfg.Background.Keeping = away
			})
			rec, link := r.connect("connect-1", "state-1")
			callback, e := r.approve(link), event("cb-1")
			if c.consumed {
				r.must(r.records.ConsumeState(t.Context(), "state-1", connection.StateBinding{}, callback.Code.SHA256(), time.Now()))
			}
			if c.mark > 0 {
				leave(t, r.secrets, rec.ID, "exchange", callback.Code, c.mark)
			}
			away.down = c.vaultAway
			for range 2 { // last words may be called for again
				r.must(r.CallbackGivenUp(t.Context(), e, callback, fault.Outage, errOutage))
			}
			if got := r.reasons(events.TypeConnectionFailed); !slices.Equal(got, []string{c.reason}) {
				t.Errorf("reasons %v, want %s", got, c.reason)
			}
			if got := r.record(rec.ID).State; got != connection.Failed {
				t.Errorf("state %s", got)
			}
			away.down = false
			r.must(r.CallbackReceived(t.Context(), event("redriven"), callback))
			if got := r.record(rec.ID).State; got != connection.Established {
				t.Errorf("state %s after a redrive that came through", got)
			}
			r.must(r.CallbackGivenUp(t.Context(), e, callback, fault.Outage, errOutage))
			if got := r.record(rec.ID).State; got != connection.Established || len(r.reasons(events.TypeConnectionFailed)) != 1 {
				t.Errorf("state %s: what stands is not failed", got)
			}
		})
	}
}

// away is custody behind a Vault that can go away.
type away struct {
	flow.Keeping
	down bool
}

func (a *away) Resolve(ctx context.Context, id string, codeLifetime time.Duration) error {
	if a.down {
		return errOutage
	}
	return a.Keeping.Resolve(ctx, id, codeLifetime)
}

func TestAGivenUpCallbackWithoutACode(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	r.connect("connect-1", "state-1")
	r.must(r.CallbackGivenUp(t.Context(), event("cb-1"), events.CallbackReceived{State: "nobody's"}, fault.Exhausted, errOutage))
	r.must(r.CallbackGivenUp(t.Context(), event("cb-2"), events.CallbackReceived{State: "state-1", Cancelled: true}, fault.Exhausted, errOutage))
	r.must(r.CallbackGivenUp(t.Context(), event("cb-3"), events.CallbackReceived{State: "state-1"}, fault.Exhausted, errOutage))
	if got := r.reasons(events.TypeConnectionFailed); !slices.Equal(got, []string{events.ReasonCancelled, events.ReasonUnsuccessful}) {
		t.Errorf("reasons %v", got)
	}
}

// finX refused the refresh token while the bank's consent had lapsed. The user
// renews at the bank, finX gives no code, and what custody remembers is not the
// truth any more.
func TestARenewalMakesFinXBeAskedOnceMore(t *testing.T) {
	r := newRig(t, finxtest.Options{SyncWithoutCode: true, AccessLifetime: time.Second})
	rec := r.established()
	_, err := r.sandbox.AddFault(finxtest.Fault{
		Call: "token.refresh", Times: 1, Status: http.StatusBadRequest, Body: `{"error":"invalid_grant"}`,
	})
	r.must(err)
	for _, id := range []string{"sync-1", "sync-2"} {
		r.must(r.sync(id, events.SyncRequested{ConnectionID: rec.ID}))
	}
	if n := r.sandbox.Stats().Total("token.refresh"); n != 1 {
		t.Fatalf("%d refreshes: custody asks again what it knows", n)
	}
	r.must(r.CallbackReceived(t.Context(), event("renewed"), r.renew()))
	if got := r.record(rec.ID).State; got != connection.Established {
		t.Errorf("state %s, connection.failed %v", got, r.reasons(events.TypeConnectionFailed))
	}
}

// The tokens of an exchange were in escrow: an old callback finds them.
func TestAnOldCallbackWhoseTokensCameHome(t *testing.T) {
	home := &homecoming{}
	r := newRig(t, finxtest.Options{}, func(cfg *flow.Config) {
		home.Keeping = cfg.Background.Keeping
		cfg.Background.Keeping = home
	})
	rec, link := r.connect("connect-1", "state-1")
	callback, e := r.approve(link), event("cb-1")
	e.Time = e.Time.Add(-2 * time.Hour)
	r.must(r.records.ConsumeState(t.Context(), "state-1", connection.StateBinding{}, callback.Code.SHA256(), time.Now()))
	home.store = func() {
		_, err := r.secrets.Put(t.Context(), rec.ID, vaultstore.Record{
			AccessToken: secret.New("a"), RefreshToken: secret.New("r"), CodeSHA256: callback.Code.SHA256(),
			AccessExpiresAt: time.Now().Add(time.Hour), RefreshObtainedAt: time.Now(),
		}, 0)
		r.must(err)
	}
	r.must(r.CallbackReceived(t.Context(), e, callback))
	if got := r.record(rec.ID).State; got != connection.Established {
		t.Errorf("state %s, connection.failed %v", got, r.reasons(events.TypeConnectionFailed))
	}
}

// homecoming is custody that finds an answer in escrow when it resolves.
type homecoming struct {
	flow.Keeping
	store func()
}

func (h *homecoming) Resolve(context.Context, string, time.Duration) error {
	h.store()
	return nil
}

var _ flow.Keeping = (*custody.Keeper)(nil)
