package flow

import (
	"context"
	"fmt"

	"github.com/finx-connector/finx-connector/events"
)

// TimerDue turns a timer that has come due into the request for a fetch, under
// the same id: there is one path that fetches.
func (f *Flow) TimerDue(ctx context.Context, e events.Envelope, in events.SyncRequested) error {
	f.Metrics.due(timerFetch, e.Time)
	cause := e.Cause()
	cause.ID = e.CausationID
	if err := f.Bus.RequestSync(ctx, e.ID, e.Time, cause, in); err != nil {
		return fmt.Errorf("flow: passing on the due timer: %w", err)
	}
	return nil
}
