package publishertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// Scheduler is all that the contract speaks of.
type Scheduler interface {
	ScheduleSync(ctx context.Context, connectionID string, at time.Time, r events.SyncRequested) error
	ScheduleKeepAlive(ctx context.Context, connectionID string, at time.Time) error
	CancelSchedule(ctx context.Context, connectionID string) (int, error)
}

// RunTimers checks timers against the contract. open returns a scheduler without
// timers that calls due, on any goroutine, for all that comes due; it is called
// once a test. bubble runs a test in its kind of time: testing/synctest.Test in
// fake time, RealTime in that of the servers.
func RunTimers(t *testing.T, bubble func(t *testing.T, test func(*testing.T)), open func(t *testing.T, due DueFunc) Scheduler) {
	for name, test := range map[string]func(*testing.T, *bench){
		"each kind comes due in its own words":   eachKindComesDue,
		"never early, though in whole seconds":   neverEarly,
		"overdue is due at once":                 overdueIsDueAtOnce,
		"the last call counts":                   lastCallCounts,
		"a later time puts it off":               laterTimePutsOff,
		"back to a time set before":              backAndForth,
		"one a kind and connection":              oneAKindAndConnection,
		"racing calls leave one":                 racingCallsLeaveOne,
		"cancel takes both kinds and no other":   cancelTakesBothKinds,
		"what came due cannot be cancelled":      whatCameDueStays,
		"a handler may set the next":             handlerMaySetTheNext,
		"what could not be read is not taken":    unreadableIsNotTaken,
		"nothing is set when the caller is gone": nothingIsSetForNobody,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for the clock most of the time
			bubble(t, func(t *testing.T) {
				b := &bench{came: make(chan due, 64)}
				b.Scheduler = open(t, func(subject string, e events.Envelope) { b.came <- due{subject, e, time.Now()} })
				test(t, b)
			})
		})
	}
}

// RealTime runs a test as it is.
func RealTime(t *testing.T, test func(*testing.T)) { test(t) }

const (
	soon = time.Second // and up to one more, as timers are in whole seconds
	// late is how long after its time a timer may come due on a busy machine.
	late = 30 * time.Second
	// quiet is how long nothing may come due for a test to say that nothing does.
	quiet = time.Second
)

// Two connections.
const (
	idA = "5b0a7a5e-6a57-5c8e-9d5b-1f3d1c9a2b4e"
	idB = "7d0f6d3c-2f5c-5d0e-9a57-1f0f2b6a4c11"
)

type due struct {
	subject string
	event   events.Envelope
	at      time.Time
}

// bench is a scheduler and what came due of it.
type bench struct {
	Scheduler

	came chan due
}

func syncOf(connectionID string) events.SyncRequested {
	return events.SyncRequested{ConnectionID: connectionID, Trigger: events.TriggerSchedule, Reason: "sync interval"}
}

func (b *bench) sync(t *testing.T, connectionID string, at time.Time) {
	t.Helper()
	if err := b.ScheduleSync(t.Context(), connectionID, at, syncOf(connectionID)); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) keepAlive(t *testing.T, connectionID string, at time.Time) {
	t.Helper()
	if err := b.ScheduleKeepAlive(t.Context(), connectionID, at); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) cancel(t *testing.T, connectionID string, want int) {
	t.Helper()
	if n, err := b.CancelSchedule(t.Context(), connectionID); n != want || err != nil {
		t.Fatalf("cancelled %d, %v, want %d", n, err, want)
	}
}

// next returns what comes due next.
func (b *bench) next(t *testing.T) due {
	t.Helper()
	select {
	case d := <-b.came:
		return d
	case <-time.After(soon + late):
		t.Fatal("nothing came due")
		return due{}
	}
}

// nothing checks that nothing comes due.
func (b *bench) nothing(t *testing.T) {
	t.Helper()
	b.nothingFor(t, quiet)
}

func (b *bench) nothingFor(t *testing.T, span time.Duration) {
	t.Helper()
	select {
	case d := <-b.came:
		t.Fatalf("%s came due as well", d.subject)
	case <-time.After(span):
	}
}

func eachKindComesDue(t *testing.T, b *bench) {
	at := time.Now().Add(soon).Truncate(time.Second)
	b.sync(t, idA, at)
	d := b.next(t)
	if r, err := events.DecodeSyncRequested(d.event); err != nil || r != syncOf(idA) {
		t.Errorf("%+v, %v", r, err)
	}
	if want := events.UUIDv5("timer", idA, at.UTC().Format(time.RFC3339)); d.subject != "finx.due.sync."+idA || d.event.ID != want || !d.event.Time.Equal(at) {
		t.Errorf("%s: %+v, want id %s", d.subject, d.event, want)
	}
	at = time.Now().Add(soon).Truncate(time.Second)
	b.keepAlive(t, idA, at)
	d = b.next(t)
	if k, err := events.DecodeKeepAliveDue(d.event); err != nil || k.ConnectionID != idA {
		t.Errorf("%+v, %v", k, err)
	}
	if want := events.UUIDv5("keepalive", idA, at.UTC().Format(time.RFC3339)); d.subject != "finx.due.keepalive."+idA || d.event.ID != want || !d.event.Time.Equal(at) {
		t.Errorf("%s: %+v, want id %s", d.subject, d.event, want)
	}
	b.nothing(t)
}

func neverEarly(t *testing.T, b *bench) {
	at := time.Now().Truncate(time.Second).Add(soon + 999*time.Millisecond) // all but a whole second
	b.keepAlive(t, idA, at)
	if d := b.next(t); d.at.Before(at) || d.at.After(at.Add(late)) {
		t.Errorf("due at %v, want soon after %v", d.at, at)
	}
}

func overdueIsDueAtOnce(t *testing.T, b *bench) {
	start := time.Now()
	b.keepAlive(t, idA, start.Add(-time.Hour))
	b.sync(t, idA, start.Add(-90*24*time.Hour))
	for range 2 {
		if d := b.next(t); d.at.After(start.Add(late)) {
			t.Errorf("%s came due %v late", d.subject, d.at.Sub(start))
		}
	}
	b.nothing(t)
}

func lastCallCounts(t *testing.T, b *bench) {
	at := time.Now().Add(soon)
	b.keepAlive(t, idA, at.Add(time.Hour))
	b.keepAlive(t, idA, at)
	if d := b.next(t); d.at.Before(at) {
		t.Errorf("due at %v, before %v", d.at, at)
	}
}

func laterTimePutsOff(t *testing.T, b *bench) {
	b.keepAlive(t, idA, time.Now().Add(soon))
	b.keepAlive(t, idA, time.Now().Add(60*24*time.Hour))
	b.nothingFor(t, soon+time.Second+quiet)
	b.cancel(t, idA, 1)
}

func backAndForth(t *testing.T, b *bench) {
	at := time.Now().Add(soon)
	for _, when := range []time.Time{at, at.Add(time.Hour), at} {
		b.keepAlive(t, idA, when)
	}
	b.next(t)
	b.nothing(t)
}

func oneAKindAndConnection(t *testing.T, b *bench) {
	at := time.Now().Add(soon)
	for range 2 {
		for _, id := range []string{idA, idB} {
			b.sync(t, id, at)
			b.keepAlive(t, id, at)
		}
	}
	got := map[string]int{}
	for range 4 {
		got[b.next(t).subject]++
	}
	for _, want := range []string{"finx.due.sync." + idA, "finx.due.sync." + idB, "finx.due.keepalive." + idA, "finx.due.keepalive." + idB} {
		if got[want] != 1 {
			t.Errorf("%s came due %d times", want, got[want])
		}
	}
	b.nothing(t)
}

func racingCallsLeaveOne(t *testing.T, b *bench) {
	at := time.Now().Add(soon)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := b.ScheduleKeepAlive(t.Context(), idA, at); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b.next(t)
	b.nothing(t)
}

func cancelTakesBothKinds(t *testing.T, b *bench) {
	b.cancel(t, idA, 0)
	at := time.Now().Add(soon)
	b.sync(t, idA, at)
	b.keepAlive(t, idA, at)
	b.keepAlive(t, idB, at)
	b.cancel(t, idA, 2)
	b.cancel(t, idA, 0)
	if d := b.next(t); d.subject != "finx.due.keepalive."+idB {
		t.Errorf("%s came due", d.subject)
	}
	b.nothing(t)
	if n, err := b.CancelSchedule(t.Context(), "*"); n != 0 || fault.Of(err) != fault.GiveUp {
		t.Errorf("a wildcard: %d, %v", n, err)
	}
}

func whatCameDueStays(t *testing.T, b *bench) {
	b.keepAlive(t, idB, time.Now())
	b.next(t)
	b.cancel(t, idB, 0)
}

func handlerMaySetTheNext(t *testing.T, b *bench) {
	b.keepAlive(t, idA, time.Now())
	for range 2 {
		d := b.next(t)
		b.keepAlive(t, idA, d.at.Add(time.Second))
	}
	if first := b.next(t); first.event.Type != events.TypeKeepAliveDue {
		t.Errorf("%+v", first)
	}
	b.nothing(t)
}

func unreadableIsNotTaken(t *testing.T, b *bench) {
	if err := b.ScheduleKeepAlive(t.Context(), "not.a.uuid", time.Now()); fault.Of(err) != fault.GiveUp {
		t.Errorf("a connection id that is none: %v", err)
	}
	if err := b.ScheduleSync(t.Context(), idA, time.Now(), events.SyncRequested{}); fault.Of(err) != fault.GiveUp {
		t.Errorf("a request for no connection: %v", err)
	}
	b.nothing(t)
}

func nothingIsSetForNobody(t *testing.T, b *bench) {
	ctx, gone := context.WithCancel(t.Context())
	gone()
	if err := b.ScheduleKeepAlive(ctx, idA, time.Now()); err == nil {
		t.Error("no error")
	}
	if _, err := b.CancelSchedule(ctx, idA); err == nil {
		t.Error("no error")
	}
	b.nothing(t)
}
