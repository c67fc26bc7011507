package flow

import (
	"context"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
)

// lostKeep is how many lost timers one walk sets again: 12 MB. The rest comes with
// the next walk.
const lostKeep = 500_000

// lostTimer is a fetch that should have begun long ago.
type lostTimer struct {
	id connectionID
	at int64 // Unix nanoseconds, as the record has it
}

// lostTimers collects, during a walk, the connections whose next fetch is so far
// behind its time that its timer may be gone: with the timers' stream, or with a
// broker that was restored from an older copy.
type lostTimers struct {
	before time.Time
	found  []lostTimer
}

// lost begins a collection. A fetch counts as lost when another one would be due
// by now.
func (f *Flow) lost(now time.Time) *lostTimers {
	return &lostTimers{before: now.Add(-max(f.SyncInterval, time.Hour))}
}

func (l *lostTimers) see(rec connection.Record) {
	at := rec.NextFetchAt
	if rec.State != connection.Established || at.IsZero() || at.After(l.before) || len(l.found) == lostKeep {
		return // zero: the first fetch, which no timer asks for, is still to come
	}
	if id, err := parseConnectionID(rec.ID); err == nil {
		l.found = append(l.found, lostTimer{id, at.UnixNano()})
	}
}

// resetTimers sets the timers of fetches that are long overdue for the times that
// they had. What comes of it has the id that the timer's event had: where the fetch
// waits in an outage, or was done meanwhile, the second request adds nothing.
func (f *Flow) resetTimers(ctx context.Context, lost []lostTimer) error {
	if len(lost) == 0 {
		return nil
	}
	f.Logger.InfoContext(ctx, "setting the timers of overdue fetches again", "connections", len(lost))
	for _, one := range lost {
		id := one.id.String()
		err := f.Bus.ScheduleSync(ctx, id, time.Unix(0, one.at).UTC(), events.SyncRequested{
			ConnectionID: id, Trigger: events.TriggerSchedule, Reason: "sync interval",
		})
		if err != nil {
			return fmt.Errorf("flow: setting the timer of an overdue fetch: %w", err)
		}
	}
	return nil
}
