package e2e_test

import (
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestStopUnderLoad asks one of two processes to stop while both are full, and
// then the other, after a new one has come. What a process had finished comes to
// nobody again, and nothing is said that would wake somebody up.
func TestStopUnderLoad(t *testing.T) {
	const limit = 20 * time.Second
	r := slowProvider(t, map[string]string{"DRAIN_TIMEOUT": limit.String(), "SYNC_CONCURRENCY": "4", "CALLBACK_CONCURRENCY": "4", "CONNECT_CONCURRENCY": "4"})
	w := r.deliveries()
	r.slowDown()
	one, other := r.serveAnywhere(true), r.serveAnywhere(true)
	l := newLoad(r, 2)
	l.run(12)
	l.progress(events.TypeFetchCompleted, 6)
	for range 2 {
		natstest.Eventually(t, within, func() bool { return reading(t, one, `finx_connector_consumer_in_flight{lane="syncs"}`) > 0 }, "work in hand")
		code, took := one.term(within)
		if code != 0 || took > limit {
			t.Errorf("exit code %d after %s", code, took)
		}
		t.Logf("stopped in %s", took.Round(time.Millisecond))
		r.checkQuiet(one)
		l.progress(events.TypeFetchCompleted, 6) // by the one that is left
		one, other = other, r.serveAnywhere(true)
		l.progress(events.TypeFetchCompleted, 6)
	}
	l.end()
	r.idle(events.StreamCallbacks, "finx-callbacks")
	r.idle(events.StreamRequests, "finx-syncs")
	l.audit()
	for durable, log := range w.logs {
		checkFinished(t, durable, log)
	}
	for _, p := range []*process{one, other} {
		r.checkQuiet(p)
	}
}

// checkFinished holds that no delivery was answered after an earlier one of the
// same message had been acknowledged.
func checkFinished(t *testing.T, durable string, log *natstest.AckLog) {
	t.Helper()
	finished, handedBack := map[uint64]uint64{}, 0
	for _, a := range log.All() {
		if by, done := finished[a.Sequence]; done && a.Delivered > by {
			t.Errorf("%s: message %d was acknowledged at delivery %d, and delivery %d was answered %q", durable, a.Sequence, by, a.Delivered, a.Body)
		}
		switch a.Body {
		case "+ACK":
			finished[a.Sequence] = a.Delivered
		case "+WPI":
		default:
			handedBack++
		}
	}
	if len(finished) == 0 {
		t.Errorf("%s: nothing was acknowledged", durable)
	}
	t.Logf("%s: %d messages acknowledged, %d deliveries handed back", durable, len(finished), handedBack)
}
