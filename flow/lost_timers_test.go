package flow_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// lastFetch is when the last fetch of a connection finished, by its record.
func (w *world) lastFetch(id string) time.Time {
	w.t.Helper()
	if last := w.record(id).LastFetch; last != nil {
		return last.FinishedAt
	}
	return time.Time{}
}

// The stream of the timers is lost, and nobody asks for data but they: the walk
// finds the fetches that never came and sets their timers again, and from there
// the chain goes on by itself.
func TestTimersOfFetchesThatWereLostAreSetAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, finxtest.Options{})
		w.syncs = true
		rec := w.connect(userID) // its callback asks for the first fetch
		w.pass(time.Hour)
		_, err := w.timers.CancelSchedule(t.Context(), rec.ID)
		w.must(err)
		lost := time.Now()
		w.pass(10 * time.Hour) // five hours behind: not yet lost
		if at := w.lastFetch(rec.ID); at.After(lost) {
			t.Errorf("fetched at %s, %s after its timer was lost", at, at.Sub(lost))
		}
		w.pass(day)
		if at := w.lastFetch(rec.ID); !at.After(lost) {
			t.Error("the fetches are lost for good")
		}
		requests := w.requests()
		w.pass(day)
		if n := w.requests() - requests; n != 4 {
			t.Errorf("%d requests on the day after, want four", n)
		}
		w.end()
	})
}

// While lanes take nothing, walks find the same fetches overdue again and again.
// Their timers have the ids they had: what comes of them is one fetch.
func TestTimersSetTwiceAreOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, finxtest.Options{})
		rec := w.connect(userID)
		w.must(w.SyncRequested(t.Context(), event("first"), syncOf(rec.ID)))
		w.pass(3 * day) // requests are counted and not handled
		w.bus.mu.Lock()
		ids, n := map[string]bool{}, 0
		for _, id := range w.bus.asked[1:] { // the first is the callback's
			ids[id], n = true, n+1
		}
		w.bus.mu.Unlock()
		if n < 5 || len(ids) != 1 {
			t.Errorf("%d requests under %d ids, want several under one", n, len(ids))
		}
		w.end()
	})
}

// requests is how many sync requests there were.
func (w *world) requests() int {
	w.bus.mu.Lock()
	defer w.bus.mu.Unlock()
	return w.bus.requests
}

func syncOf(connectionID string) events.SyncRequested {
	return events.SyncRequested{ConnectionID: connectionID}
}
