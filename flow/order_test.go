package flow_test

import (
	"context"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/flow"
)

// sharpBus is a bus whose readers are faster than its writer: what is requested
// is handled before the request returns.
type sharpBus struct {
	flow.Bus

	onSync func(events.SyncRequested)
}

func (b sharpBus) RequestSync(ctx context.Context, id string, t time.Time, c events.Cause, in events.SyncRequested) error {
	b.onSync(in)
	return b.Bus.RequestSync(ctx, id, t, c, in)
}

// The fetch of a callback may begin before the callback's handler returns, and
// must find an established connection then: a refusal would be the last word.
func TestTheFirstFetchFindsTheConnectionEstablished(t *testing.T) {
	var r *rig
	var seen []connection.State
	r = newRig(t, finxtest.Options{}, func(c *flow.Config) {
		c.Bus = sharpBus{Bus: c.Bus, onSync: func(in events.SyncRequested) {
			seen = append(seen, r.record(in.ConnectionID).State)
		}}
	})
	r.established()
	if len(seen) != 1 || seen[0] != connection.Established {
		t.Errorf("states at the time of the request: %v, want established", seen)
	}
}

// The process that made the link may die between publishing it and writing so;
// the user's approval can arrive before the redelivery does.
func TestACallbackMayOvertakeTheRestOfItsConnect(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec, link := r.connect("connect-1", "state-1")
	current, revision, err := r.records.Get(t.Context(), rec.ID)
	r.must(err)
	asItWas := connection.New(rec.ID, rec.UserID, rec.CreatedAt)
	asItWas.CauseID, asItWas.Request = current.CauseID, current.Request
	asItWas.RedirectURI, asItWas.OAuthState = current.RedirectURI, current.OAuthState
	_, err = r.records.Update(t.Context(), asItWas, revision)
	r.must(err)
	r.must(r.CallbackReceived(t.Context(), event("cb-1"), r.approve(link)))
	if got := r.record(rec.ID).State; got != connection.Established {
		t.Errorf("state %s, want established", got)
	}
	links := r.sandbox.Stats().LinksCreated
	r.must(r.ConnectRequested(t.Context(), event("connect-1"), events.ConnectRequested{UserID: userID, RedirectURI: redirectURI, State: "state-1"}))
	if n := r.sandbox.Stats().LinksCreated; n != links {
		t.Error("the redelivered connect made a second link for a connection that stands")
	}
}
