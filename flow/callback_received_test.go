package flow_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// wantField checks a refusal: its class, its finality and the field it names.
func wantField(t *testing.T, err error, field string, class fault.Class) {
	t.Helper()
	fe, ok := errors.AsType[*events.FieldError](err)
	if !ok || fe.Field != field || fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != class {
		t.Errorf("error %v (verdict %v, class %v), want a final one of class %s that names %s", err, fault.Of(err), fault.ClassOf(err), class, field)
	}
}

// reasons returns the reason of every published event of a type.
func (r *rig) reasons(typ string) []string {
	r.t.Helper()
	var out []string
	for _, o := range r.published(typ) {
		var data struct {
			Reason string `json:"reason"`
		}
		r.must(json.Unmarshal(o.Data, &data))
		out = append(out, data.Reason)
	}
	return out
}

func TestCallbackEstablishesOnce(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	_, link := r.connect("connect-1", "state-1")
	callback := r.approve(link)
	for _, id := range []string{"cb-1", "cb-1", "cb-2"} { // a redelivery, and upstream's own repetition
		r.must(r.CallbackReceived(t.Context(), event(id), callback))
	}
	stats := r.sandbox.Stats()
	if stats.CodesExchanged != 1 || stats.CodesReused != 0 {
		t.Errorf("exchanged %d, reused %d, want 1 and 0", stats.CodesExchanged, stats.CodesReused)
	}
	if n := len(r.published(events.TypeConnectionEstablished)); n != 1 {
		t.Errorf("%d connection.established, want 1", n)
	}
	syncs := r.requested()
	if len(syncs) != 1 || syncs[0].Trigger != events.TriggerCallback {
		t.Errorf("sync requests %+v, want one of the callback", syncs)
	}
}

// Whatever step dies, the next delivery finishes the job under the same ids.
func TestCallbackSurvivesACrashAtEveryStep(t *testing.T) {
	for _, step := range []string{events.TypeConnectionEstablished, "keepalive", "sync"} {
		t.Run(step, func(t *testing.T) {
			r := newRig(t, finxtest.Options{})
			rec, link := r.connect("connect-1", "state-1")
			e, callback := event("cb-1"), r.approve(link)
			r.bus.failOn(step)
			if err := r.CallbackReceived(t.Context(), e, callback); !errors.Is(err, errBus) {
				t.Fatalf("error %v", err)
			}
			r.bus.failOn("")
			r.must(r.CallbackReceived(t.Context(), e, callback))
			if got := r.record(rec.ID).State; got != connection.Established {
				t.Errorf("state %s", got)
			}
			if n := len(r.published(events.TypeConnectionEstablished)); n != 1 || len(r.requested()) != 1 {
				t.Errorf("%d connection.established, %d sync requests, want one each", n, len(r.requested()))
			}
			if s := r.sandbox.Stats(); s.CodesExchanged != 1 || s.CodesReused != 0 {
				t.Errorf("exchanged %d, reused %d", s.CodesExchanged, s.CodesReused)
			}
		})
	}
}

func TestCallbackWithoutSuccess(t *testing.T) {
	cases := []struct {
		name, reason string
		in           events.CallbackReceived
	}{
		{"cancelled", events.ReasonCancelled, events.CallbackReceived{State: "state-1", Cancelled: true}},
		{"unsuccessful", events.ReasonUnsuccessful, events.CallbackReceived{State: "state-1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, finxtest.Options{})
			rec, link := r.connect("connect-1", "state-1")
			r.must(r.CallbackReceived(t.Context(), event("cb-1"), c.in))
			if got := r.reasons(events.TypeConnectionFailed); !slices.Equal(got, []string{c.reason}) {
				t.Errorf("reasons %v", got)
			}
			// The user goes back in the browser and approves after all.
			r.must(r.CallbackReceived(t.Context(), event("cb-2"), r.approve(link)))
			if got := r.record(rec.ID).State; got != connection.Established {
				t.Errorf("state %s after approving, want established", got)
			}
			// The first callback once more must not take that away.
			r.must(r.CallbackReceived(t.Context(), event("cb-3"), c.in))
			if got := r.record(rec.ID).State; got != connection.Established {
				t.Errorf("state %s after a late repetition, want established", got)
			}
			if n := len(r.reasons(events.TypeConnectionFailed)); n != 1 {
				t.Errorf("%d connection.failed, want 1", n)
			}
		})
	}
}

func TestCallbackRefusals(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	_, link := r.connect("connect-1", "state-1")
	r.must(r.CallbackReceived(t.Context(), event("cb-1"), r.approve(link)))
	t.Run("unknown state", func(t *testing.T) {
		err := r.CallbackReceived(t.Context(), event("cb-2"), events.CallbackReceived{State: "nobody's", Success: true, Code: secret.New("injected-code-000000")})
		wantField(t, err, "state", fault.UnknownState)
	})
	t.Run("another code on a consumed state", func(t *testing.T) {
		err := r.CallbackReceived(t.Context(), event("cb-3"), events.CallbackReceived{State: "state-1", Success: true, Code: secret.New("injected-code-000000")})
		wantField(t, err, "state", fault.Rejected)
	})
	if n := r.sandbox.Stats().Total("token.exchange"); n != 1 {
		t.Errorf("%d exchanges, want the first one only", n)
	}
}

func TestCallbackFailures(t *testing.T) {
	cases := []struct {
		name, reason string
		age          time.Duration
		fault        *finxtest.Fault
		late         bool
		calls        int
	}{
		{name: "code too old to send", reason: events.ReasonCodeExpired, age: 61 * time.Minute},
		{name: "code refused", reason: events.ReasonCodeRejected, late: true, calls: 1},
		{
			name: "answer lost after the code was spent", reason: events.ReasonExchangeOutcomeUnknown, calls: 2,
			fault: &finxtest.Fault{Call: "token.exchange", Times: 1, Status: http.StatusGatewayTimeout, When: "after"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, finxtest.Options{})
			rec, link := r.connect("connect-1", "state-1")
			e, callback := event("cb-1"), r.approve(link)
			e.Time = e.Time.Add(-c.age)
			if c.late {
				r.sandbox.Advance(2 * time.Hour)
			}
			if c.fault != nil {
				if _, err := r.sandbox.AddFault(*c.fault); err != nil {
					t.Fatal(err)
				}
			}
			r.must(r.CallbackReceived(t.Context(), e, callback))
			if got := r.reasons(events.TypeConnectionFailed); !slices.Equal(got, []string{c.reason}) {
				t.Errorf("reasons %v, want %s", got, c.reason)
			}
			if got := r.record(rec.ID); got.State != connection.Failed || got.LastError == nil || got.LastError.Reason != c.reason {
				t.Errorf("record in state %s with %+v", got.State, got.LastError)
			}
			if n := r.sandbox.Stats().Total("token.exchange"); n != c.calls {
				t.Errorf("%d calls, want %d", n, c.calls)
			}
		})
	}
}

// A replay of all callbacks, after a renewal too, sends no code a second time
// and takes nothing back.
func TestReplayedCallbacksSpendNothing(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec, link := r.connect("connect-1", "state-1")
	first := r.approve(link)
	r.must(r.CallbackReceived(t.Context(), event("cb-1"), first))
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	r.sandbox.RevokeUser(userID)
	r.must(r.sync("sync-2", events.SyncRequested{ConnectionID: rec.ID}))
	var data struct {
		Location string `json:"location"`
	}
	r.must(json.Unmarshal(r.published(events.TypeReauthorizationRequired)[0].Data, &data))
	back, err := r.sandbox.Approve(data.Location)
	r.must(err)
	second := events.CallbackReceived{State: back.Query().Get("state"), Success: true, Code: secret.New(back.Query().Get("code"))}
	r.must(r.CallbackReceived(t.Context(), event("cb-2"), second))
	calls, old := r.sandbox.Stats().Total("token.exchange"), event("cb-1")
	old.Time = old.Time.Add(-3 * time.Hour)
	for range 2 {
		r.must(r.CallbackReceived(t.Context(), old, first))
		r.must(r.CallbackReceived(t.Context(), event("cb-2"), second))
	}
	if n := r.sandbox.Stats().Total("token.exchange"); n != calls {
		t.Errorf("%d exchanges after a replay, %d before", n, calls)
	}
	if got := r.reasons(events.TypeConnectionFailed); len(got) != 0 || r.record(rec.ID).State != connection.Established {
		t.Errorf("connection.failed %v, state %s", got, r.record(rec.ID).State)
	}
}
