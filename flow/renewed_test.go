package flow_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// pausedTokens give no access while the bank's consent has lapsed.
type pausedTokens struct {
	flow.Tokens
	lapsed *bool
}

func (p pausedTokens) Access(ctx context.Context, id string) (custody.Grant, error) {
	if *p.lapsed {
		return custody.Grant{}, custody.ErrRefreshRejected
	}
	return p.Tokens.Access(ctx, id)
}

// renewal is a connection that the bank's consent has left, at a finX that
// renews it without giving a code.
type renewal struct {
	*rig
	lapsed bool
	rec    connection.Record
}

func newRenewal(t *testing.T) *renewal {
	t.Helper()
	l := &renewal{}
	l.rig = newRig(t, finxtest.Options{SyncWithoutCode: true}, func(c *flow.Config) {
		c.Tokens = pausedTokens{c.Tokens, &l.lapsed}
	})
	l.rec = l.established()
	l.must(l.sync("sync-1", events.SyncRequested{ConnectionID: l.rec.ID}))
	return l
}

// lose has a fetch find the consent gone.
func (l *renewal) lose(syncID string) {
	l.t.Helper()
	l.lapsed = true
	l.must(l.sync(syncID, events.SyncRequested{ConnectionID: l.rec.ID}))
	l.lapsed = false
	l.wantState(connection.ReauthorizationRequired)
}

func (l *renewal) wantState(want connection.State) {
	l.t.Helper()
	if got := l.record(l.rec.ID).State; got != want {
		l.t.Errorf("state %s, want %s", got, want)
	}
}

// renew plays the user at the newest renewal link.
func (r *rig) renew() events.CallbackReceived {
	r.t.Helper()
	all := r.published(events.TypeReauthorizationRequired)
	var data struct {
		Location string `json:"location"`
	}
	r.must(json.Unmarshal(all[len(all)-1].Data, &data))
	back, err := r.sandbox.Approve(data.Location)
	r.must(err)
	return callbackOf(back)
}

// callbackOf is what upstream makes of the address that the user comes back to.
func callbackOf(back *url.URL) events.CallbackReceived {
	q := back.Query()
	return events.CallbackReceived{State: q.Get("state"), Success: q.Get("success") == "true", Code: secret.New(q.Get("code"))}
}

// count returns how many connection.established and sync requests there are.
func (r *rig) count() [2]int {
	r.t.Helper()
	return [2]int{len(r.published(events.TypeConnectionEstablished)), len(r.requested())}
}

func TestARenewalNeedsNoCode(t *testing.T) {
	l := newRenewal(t)
	l.lose("sync-2")
	callback := l.renew()
	if !callback.Code.IsZero() || !callback.Success {
		t.Fatal("the sandbox gave a code or no success")
	}
	for _, id := range []string{"cb-2", "cb-2", "cb-3"} { // a redelivery, and the browser's reload
		l.must(l.CallbackReceived(t.Context(), event(id), callback))
	}
	l.wantState(connection.Established)
	if got := l.count(); got != [2]int{2, 2} {
		t.Errorf("%v connection.established and sync requests, want 2 of each: connected and renewed", got)
	}
	if steps := l.record(l.rec.ID).History; steps[len(steps)-1].Reason != "renewed without a new code" {
		t.Errorf("last step %+v", steps[len(steps)-1])
	}
	if n := l.sandbox.Stats().Total("token.exchange"); n != 1 {
		t.Errorf("%d exchanges, want the first connection's", n)
	}
	l.must(l.sync("sync-3", events.SyncRequested{ConnectionID: l.rec.ID}))
	if n := len(l.completed()); n != 2 {
		t.Errorf("%d fetches, want one before and one after", n)
	}
	// Lost again: the old callback's replay brings nothing back and fails nothing.
	l.lose("sync-4")
	before := l.count()
	l.must(l.CallbackReceived(t.Context(), event("cb-2"), callback))
	l.wantState(connection.ReauthorizationRequired)
	if got := l.count(); got != before || len(l.reasons(events.TypeConnectionFailed)) != 0 {
		t.Errorf("after a replay %v, before %v", got, before)
	}
	second := l.renew()
	if second.State == callback.State {
		t.Error("the next renewal has the state of the last")
	}
	l.must(l.CallbackReceived(t.Context(), event("cb-4"), second))
	l.wantState(connection.Established)
}

// Whatever step dies, the next delivery finishes the job under the same ids.
func TestARenewalSurvivesACrashAtEveryStep(t *testing.T) {
	for _, step := range []string{events.TypeConnectionEstablished, "keepalive", "sync"} {
		t.Run(step, func(t *testing.T) {
			l := newRenewal(t)
			l.lose("sync-2")
			e, callback := event("cb-2"), l.renew()
			l.bus.failOn(step)
			if err := l.CallbackReceived(t.Context(), e, callback); !errors.Is(err, errBus) {
				t.Fatalf("error %v", err)
			}
			l.bus.failOn("")
			l.must(l.CallbackReceived(t.Context(), e, callback))
			l.wantState(connection.Established)
			if got := l.count(); got != [2]int{2, 2} {
				t.Errorf("%v connection.established and sync requests, want 2 of each", got)
			}
		})
	}
}

// The bank renewed, but for finX the grant is dead and there is no new one. The
// stored access token still has time on it: only asking finX shows the truth.
func TestARenewalOfTokensThatAreGone(t *testing.T) {
	r := newRig(t, finxtest.Options{SyncWithoutCode: true})
	rec := r.established()
	r.sandbox.RevokeUser(userID)
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	callback, before := r.renew(), r.count()
	for range 2 {
		r.must(r.CallbackReceived(t.Context(), event("cb-2"), callback))
	}
	if got := r.record(rec.ID).State; got != connection.ReauthorizationRequired {
		t.Errorf("state %s, want %s", got, connection.ReauthorizationRequired)
	}
	if got := r.reasons(events.TypeConnectionFailed); !slices.Equal(got, []string{events.ReasonUnsuccessful}) {
		t.Errorf("reasons %v, want one %s", got, events.ReasonUnsuccessful)
	}
	if got := r.count(); got != before {
		t.Errorf("%v connection.established and sync requests, before %v", got, before)
	}
}

func TestARenewalWaitsForFinX(t *testing.T) {
	l := newRenewal(t)
	l.lose("sync-2")
	callback, before := l.renew(), l.count()
	if _, err := l.sandbox.AddFault(finxtest.Fault{Call: "accounts", Times: 1, Status: http.StatusServiceUnavailable}); err != nil {
		t.Fatal(err)
	}
	err := l.CallbackReceived(t.Context(), event("cb-2"), callback)
	if err == nil || fault.Of(err) == fault.GiveUp {
		t.Errorf("error %v, want one to try again", err)
	}
	if got := l.count(); got != before || len(l.reasons(events.TypeConnectionFailed)) != 0 {
		t.Errorf("%v connection.established and sync requests, before %v", got, before)
	}
	l.wantState(connection.ReauthorizationRequired)
	l.must(l.CallbackReceived(t.Context(), event("cb-2"), callback))
	l.wantState(connection.Established)
}

// A callback without a code uses its state up no more than a cancelled one: the
// code that comes after it is exchanged.
func TestARenewalWithoutACodeKeepsItsState(t *testing.T) {
	l := newRenewal(t)
	l.lose("sync-2")
	callback := l.renew()
	l.must(l.CallbackReceived(t.Context(), event("cb-2"), callback))
	_, link := l.connect("connect-2", "state-2") // the sandbox's way to a code of this user
	callback.Code = l.approve(link).Code
	l.must(l.CallbackReceived(t.Context(), event("cb-3"), callback))
	if n := l.sandbox.Stats().CodesExchanged; n != 2 {
		t.Errorf("%d codes exchanged, want 2", n)
	}
	// And from now on it is consumed: the callback without a code changes nothing.
	before := l.count()
	callback.Code = secret.Text{}
	l.must(l.CallbackReceived(t.Context(), event("cb-4"), callback))
	if got := l.count(); got != before {
		t.Errorf("%v connection.established and sync requests, before %v", got, before)
	}
}

// The user may be back before the lost access is written down.
func TestARenewalOfAConnectionThatStillStands(t *testing.T) {
	l := newRenewal(t)
	rec, rev, err := l.records.Get(t.Context(), l.rec.ID)
	l.must(err)
	rec.RenewalState = "renewal-state"
	_, err = l.records.Update(t.Context(), rec, rev)
	l.must(err)
	l.must(l.records.BindState(t.Context(), rec.RenewalState, rec.ID))
	l.must(l.CallbackReceived(t.Context(), event("cb-2"), events.CallbackReceived{State: rec.RenewalState, Success: true}))
	l.wantState(connection.Established)
	if got := l.count(); got != [2]int{2, 2} {
		t.Errorf("%v connection.established and sync requests, want 2 of each", got)
	}
}

func TestAFirstCallbackNeedsACode(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec, _ := r.connect("connect-1", "state-1")
	err := r.CallbackReceived(t.Context(), event("cb-1"), events.CallbackReceived{State: "nobody's", Success: true})
	wantField(t, err, "state", fault.UnknownState)
	err = r.CallbackReceived(t.Context(), event("cb-2"), events.CallbackReceived{State: "state-1", Success: true})
	wantField(t, err, "code", fault.Malformed)
	if got := r.record(rec.ID).State; got != connection.LinkCreated {
		t.Errorf("state %s, want %s", got, connection.LinkCreated)
	}
	if n := r.sandbox.Stats().Total("token.exchange"); n != 0 {
		t.Errorf("%d exchanges", n)
	}
}
