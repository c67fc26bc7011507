package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
)

// patience is how long a due timer waits for its turn before it sets its timer
// again: its slot is needed by others.
const patience = 2 * time.Second

// KeepAliveDue rotates the refresh token of a connection that nobody has used
// for so long that its end comes near.
//
//	connection established? → token due? → its turn? → rotated → next timer set → state written
//
// Nothing here waits for finX or Vault longer than one call takes: a rotation
// that fails sets the timer again and the delivery is done. What its users see:
//
//   - As long as the token can be replaced: nothing.
//   - When less than Notice is left of a token that could not be replaced, because
//     finX, Vault or the broker were away or because finX keeps the old one:
//     connection.expiring, once for this token, with a renewal link where finX
//     makes one. The tries go on.
//   - After the token's end by our reckoning: still nothing but tries. Only finX's
//     own refusal ends a connection, because how long finX really keeps a token,
//     and whether using it counts, is not documented to the day.
//   - When finX refuses, or the answer of a rotation was lost for good:
//     connection.reauthorization.required, as a fetch would have said.
func (f *Flow) KeepAliveDue(ctx context.Context, e events.Envelope, in events.KeepAliveDue) error {
	b := f.Background
	if b == nil {
		return nil
	}
	f.Metrics.due(timerKeepAlive, e.Time)
	rec, rev, err := f.Records.Get(ctx, in.ConnectionID)
	if errors.Is(err, connection.ErrNotFound) {
		return nil // a timer outlived its connection
	}
	if err != nil {
		return fmt.Errorf("flow: reading the connection: %w", err)
	}
	traceOf(ctx, rec)
	if rec.State != connection.Established {
		return nil
	}
	now := time.Now()
	if !b.isDue(rec, now) {
		return f.restartKeepAlive(ctx, rec, rev)
	}
	if !f.knowsBacklog() {
		return f.standBack(ctx, rec)
	}
	err = f.permits.take(ctx, b.urgency(rec, now), patience)
	if errors.Is(err, errCrowded) {
		return f.standBack(ctx, rec)
	}
	if err != nil {
		return fmt.Errorf("flow: waiting for the turn of the keep-alive: %w", err)
	}
	_, err = f.rotate(ctx, e.Cause(), rec, rev)
	return err
}

// restartKeepAlive sets the timer of a connection whose token was rotated by
// somebody else, usually a fetch.
func (f *Flow) restartKeepAlive(ctx context.Context, rec connection.Record, rev uint64) error {
	f.Metrics.kept(keptUnneeded)
	at := f.firstKeepAlive(rec)
	if err := f.setKeepAlive(ctx, rec.ID, at); err != nil {
		return err
	}
	return f.editKeepAlive(ctx, rec, rev, func(r connection.Record) connection.Record {
		r.KeepAliveAt = at
		return r
	})
}

// knowsBacklog reports whether this process may rotate. After a time without the
// service the broker fires overdue timers in an order of its own; only CatchUp
// knows the right one, so it comes first. It is not waited for without end.
func (f *Flow) knowsBacklog() bool {
	return f.surveyed.Load() || time.Since(f.began) > surveyWithin
}

// surveyWithin is how long after the start due timers wait for CatchUp.
const surveyWithin = time.Hour
