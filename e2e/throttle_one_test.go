package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestABusyUserHoldsNobodyElseBack has finX ask to wait for one user's data, in
// each of the ways in which it might. The others go on, and that user is asked for
// again in time and not before.
func TestABusyUserHoldsNobodyElseBack(t *testing.T) {
	t.Parallel()
	const asked = 10 * time.Second
	r := newRig(t, options{memory: true, env: map[string]string{"MAX_ATTEMPTS": "3"}})
	f := newFleet(r)
	var busy []*busyUser
	for _, c := range []struct{ status, code int }{
		{http.StatusLocked, 1008},
		{http.StatusLocked, 0},
		{http.StatusTooManyRequests, 1008},
		{http.StatusServiceUnavailable, 1008},
		{http.StatusBadRequest, 1008},
		{http.StatusLocked, 1010},
		{http.StatusUnprocessableEntity, 1020},
	} {
		link, _ := f.establish(fmt.Sprintf("user-%d@example.com", len(busy)))
		busy = append(busy, &busyUser{connection: link.ConnectionID, status: c.status, code: c.code, bearer: "Bearer " + r.record(link.ConnectionID).AccessToken.Reveal()})
	}
	other, _ := f.establish("other@example.com")
	f.settled()
	for i, u := range busy {
		f.fault(finxtest.Fault{Call: "accounts", Times: 1, Status: u.status, Code: u.code, RetryAfter: "10"})
		u.begun = time.Now()
		u.ask = f.send(events.TypeSyncRequested, syncData(u.connection))
		natstest.Eventually(t, within, func() bool { all := u.calls(f); return len(all) > 0 && all[0].status == u.status }, "the user is busy")
		f.fetchedBy(f.send(events.TypeSyncRequested, syncData(other.ConnectionID)))
		f.connect(fmt.Sprintf("new-%d@example.com", i))
		u.others = time.Since(u.calls(f)[0].answered)
		f.says(http.StatusOK, "")
	}
	for _, u := range busy {
		f.fetchedBy(u.ask)
		calls := u.calls(f)
		again := calls[1].at.Sub(calls[0].answered)
		t.Logf("status %d, code %d: the others went on within %s, that one after %s", u.status, u.code, u.others.Round(time.Millisecond), again.Round(time.Millisecond))
		if again < asked || u.others >= asked {
			t.Errorf("status %d, code %d: asked again after %s, the others were done after %s, want %s", u.status, u.code, again, u.others, asked)
		}
	}
	if letters := f.seen.lettersSoFar(); len(letters) != 0 {
		t.Errorf("%d dead letters", len(letters))
	}
}

// busyUser is one for whom finX asks to wait.
type busyUser struct {
	connection, bearer string
	status, code       int // of the answer that asks
	begun              time.Time
	ask                string // the event that asked for a fetch
	others             time.Duration
}

// calls returns those about this user since the fetch was asked for.
func (u *busyUser) calls(f *fleet) []arrival {
	return slices.DeleteFunc(f.calls(u.begun), func(a arrival) bool { return a.Header.Get("Authorization") != u.bearer })
}

// fetchedBy waits for the fetch that an event asked for.
func (r *rig) fetchedBy(cause string) {
	r.t.Helper()
	r.event("fetch by "+cause, func(e event) bool { return e.Type == events.TypeFetchCompleted && e.CausationID == cause })
}

// TestALongWaitOfOneUserIsParked has finX name two hours for a fetch and for the
// exchange of a code. Both leave their lanes for a timer, which knows where the
// event is and nothing of what is in it.
func TestALongWaitOfOneUserIsParked(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{memory: true})
	f := newFleet(r)
	link, _ := f.establish("parked@example.com")
	other, _ := f.establish("other@example.com")
	waiting := f.connect("waiting@example.com")
	f.settled()
	for _, call := range []string{"accounts", "token.exchange"} {
		f.fault(finxtest.Fault{Call: call, Times: 1, Status: http.StatusLocked, Code: 1008, RetryAfter: "7200"})
	}
	begun := time.Now()
	back := f.approve(waiting.Location)
	for _, one := range []struct {
		typ, durable string
		data         any
	}{
		{events.TypeSyncRequested, "finx-syncs", syncData(link.ConnectionID)},
		{events.TypeCallbackReceived, "finx-callbacks", callbackData(back)},
	} {
		stream, sequence := f.publish(one.typ, encode(t, one.data), events.HeaderMsgID, events.NewUUID())
		parked := f.parked(stream, sequence)
		f.checkReference(parked, one.durable, stream, sequence)
		f.checkKeepsNothing(parked, link.ConnectionID, back)
		at, err := time.Parse(time.RFC3339, strings.TrimPrefix(header(parked, "Nats-Schedule"), "@at "))
		if off := at.Sub(begun.Add(2 * time.Hour)); err != nil || off < 0 || off > within {
			t.Errorf("the schedule of %s is %q", one.typ, header(parked, "Nats-Schedule"))
		}
		f.idle(stream, one.durable) // the original is acknowledged
	}
	f.says(http.StatusOK, "")
	f.fetchedBy(f.send(events.TypeSyncRequested, syncData(other.ConnectionID)))
	f.establish("new@example.com")
	if n := len(f.told(begun)); n != 2 {
		t.Errorf("%d calls were told to wait, want 2", n)
	}
	if letters := f.seen.lettersSoFar(); len(letters) != 0 {
		t.Errorf("%d dead letters", len(letters))
	}
}

// parked waits for the timer of a message.
func (r *rig) parked(stream string, sequence uint64) events.Message {
	r.t.Helper()
	subject := fmt.Sprintf("%s.%s.%d", r.codec.Subject(events.SubjectTimerPark), stream, sequence)
	return await(r, within, "timer on "+subject, func() (events.Message, bool) {
		i := slices.IndexFunc(r.seen.all, func(m events.Message) bool { return m.Stream == events.StreamTimers && m.Subject == subject })
		if i < 0 {
			return events.Message{}, false
		}
		return r.seen.all[i], true
	})
}

// checkReference holds that a timer names the message and what was tried.
func (r *rig) checkReference(m events.Message, durable, stream string, sequence uint64) {
	r.t.Helper()
	var got map[string]any
	if err := json.Unmarshal(m.Data, &got); err != nil {
		r.t.Fatal(err)
	}
	want := map[string]any{"stream": stream, "sequence": float64(sequence), "durable": durable, "attempts": float64(0), "failures": float64(0)}
	for name, value := range want {
		if got[name] != value {
			r.t.Errorf("%s of the parked event is %v, want %v", name, got[name], value)
		}
	}
	known := []string{"v", "stream", "sequence", "subject", "lane", "durable", "attempts", "failures", "tries", "first_failure", "parked_at", "stored_at"}
	for name := range maps.Keys(got) {
		if !slices.Contains(known, name) {
			r.t.Errorf("the parked event has a member %q", name)
		}
	}
	if target := header(m, jetstream.ScheduleTargetHeader); target != fmt.Sprintf("%s.%s.%d", r.codec.Subject(events.SubjectDuePark), stream, sequence) {
		r.t.Errorf("it comes due on %q", target)
	}
}

// checkKeepsNothing looks for secrets in a timer.
func (r *rig) checkKeepsNothing(m events.Message, connectionID string, back *url.URL) {
	r.t.Helper()
	rec := r.record(connectionID)
	text := m.Subject + fmt.Sprint(m.Header) + string(m.Data)
	for what, value := range map[string]string{
		"code": code(back), "state": back.Query().Get("state"),
		"access token": rec.AccessToken.Reveal(), "refresh token": rec.RefreshToken.Reveal(),
	} {
		if value == "" || strings.Contains(text, value) {
			r.t.Errorf("the %s %q stands in a timer", what, value)
		}
	}
}
