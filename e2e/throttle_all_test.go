package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// throttling is one way in which finX asks everybody to stay away.
type throttling struct {
	name   string
	status int
	// asks is the Retry-After of an answer given now, wait how long that is at least.
	asks func(now time.Time) finxtest.RetryAfter
	wait time.Duration
	// override: nobody waits that long here, an operator has finX asked again.
	override bool
}

func throttlings() (all []throttling) {
	after := func(seconds finxtest.RetryAfter) func(time.Time) finxtest.RetryAfter {
		return func(time.Time) finxtest.RetryAfter { return seconds }
	}
	date := func(in time.Duration) func(time.Time) finxtest.RetryAfter {
		return func(now time.Time) finxtest.RetryAfter {
			return finxtest.RetryAfter(now.Add(in).UTC().Format(http.TimeFormat))
		}
	}
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests} {
		of := func(name string, asks func(time.Time) finxtest.RetryAfter, wait time.Duration, override bool) {
			all = append(all, throttling{http.StatusText(status) + ", " + name, status, asks, wait, override})
		}
		of("1 s", after("1"), time.Second, false)
		of("120 s", after("120"), 120*time.Second, true)
		of("2 h", after("7200"), 2*time.Hour, true)
		// A date has whole seconds, and so has the one it is measured against.
		of("a date in 4 s", date(4*time.Second), 2*time.Second, false)
		of("a date in an hour", date(time.Hour), time.Hour-3*time.Second, true)
		// The first wait of a breaker is a second, or half of it.
		of("no time", after(""), 500*time.Millisecond, false)
	}
	return all
}

// TestThrottlingHoldsEverybodyBack lets one call of two connectors be told to stay
// away. Neither asks earlier, whatever there is to do, and both go on afterwards.
func TestThrottlingHoldsEverybodyBack(t *testing.T) {
	t.Parallel()
	sideBySide(t, 4, throttlings(), func(c throttling) string { return c.name }, func(t *testing.T, c throttling) {
		r := newRig(t, options{memory: true, env: map[string]string{"BREAKER_WAIT_MAX": "1s", "FINX_THROTTLE_DEFAULT": "1s", "MAX_ATTEMPTS": "3"}})
		f := newFleet(r)
		link, _ := f.establish("before@example.com")
		waiting := f.connect("waiting@example.com")
		f.settled()

		begun := time.Now()
		f.fault(finxtest.Fault{Call: "access", Times: 1, Status: c.status, RetryAfter: c.asks(begun)})
		first := f.send(events.TypeConnectRequested, connects("told", 1)[0])
		natstest.Eventually(t, within, func() bool { return len(f.told(begun)) > 0 }, "somebody was told")
		told := f.told(begun)[0]
		until := told.answered.Add(c.wait)
		if c.override {
			f.names(until)
		}
		more := f.sendAll(events.TypeConnectRequested, connects("later", 5))
		ask := f.send(events.TypeSyncRequested, syncData(link.ConnectionID))
		f.callback(f.approve(waiting.Location))
		again := until
		if c.override {
			pause(t, 2500*time.Millisecond) // some waits of a breaker that named its own
			again = time.Now()
			f.override()
		} else {
			f.link(first)
		}
		for _, id := range more {
			f.link(id)
		}
		f.event("fetch", func(e event) bool { return e.Type == events.TypeFetchCompleted && e.CausationID == ask })
		f.completed(waiting.ConnectionID, 1)
		next := f.calls(told.at)[1]
		t.Logf("told at %s to wait %s; the next call came after %s", told.answered.Format(time.TimeOnly), c.wait, next.at.Sub(told.answered).Round(time.Millisecond))
		if next.at.Before(again) {
			t.Errorf("%s %s came %s too early", next.Method, next.Path, again.Sub(next.at))
		}
		f.says(http.StatusOK, "")
		if letters := f.seen.lettersSoFar(); len(letters) != 0 {
			t.Errorf("%d dead letters", len(letters))
		}
	})
}

// settled waits until nothing is under way.
func (r *rig) settled() {
	r.t.Helper()
	for durable, stream := range lanesOfWork() {
		r.idle(stream, durable)
	}
}

// told returns the calls that were told to stay away, in the order of their arrival.
func (f *fleet) told(since time.Time) (out []arrival) {
	for _, c := range f.calls(since) {
		if c.status == http.StatusServiceUnavailable || c.status == http.StatusTooManyRequests || c.status == http.StatusLocked {
			out = append(out, c)
		}
	}
	return out
}

// names waits until both say until when finX is left alone, within the seconds
// that a date and a busy machine may take.
func (f *fleet) names(until time.Time) {
	f.t.Helper()
	for i, m := range f.members {
		var body string
		natstest.Eventually(f.t, within, func() bool {
			_, body, _ = get(f.t, m.addr, "/readyz")
			return strings.Contains(body, "finx is left alone since")
		}, "finX is left alone")
		_, rest, _ := strings.Cut(body, "finx is left alone since ")
		_, rest, _ = strings.Cut(rest, ", until ")
		text, _, _ := strings.Cut(rest, ": ")
		said, err := time.Parse(time.RFC3339, text)
		if off := said.Sub(until); err != nil || off < -time.Second || off > 10*time.Second {
			f.t.Errorf("connector %d says until %q (%v), want %s", i, text, err, until.UTC().Format(time.RFC3339))
		}
	}
}

// override does what an operator does who knows better: it takes the key away that
// the replicas share.
func (f *fleet) override() {
	f.t.Helper()
	bucket, err := f.js.KeyValue(f.t.Context(), "finx_control")
	if err != nil {
		f.t.Fatal(err)
	}
	entry, err := bucket.Get(f.t.Context(), "breaker.finx")
	if err != nil {
		f.t.Fatal(err)
	}
	if !strings.Contains(string(entry.Value()), "throttled") {
		f.t.Errorf("the replicas share %s", entry.Value())
	}
	if err := bucket.Delete(f.t.Context(), "breaker.finx", jetstream.LastRevision(entry.Revision())); err != nil {
		f.t.Fatal(err)
	}
}
