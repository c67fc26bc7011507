package flow

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

const (
	// timerFloor is the nearest that a keep-alive timer is set to: one that is due
	// at once again would turn in a circle.
	timerFloor = time.Second
	// keptPause is how soon a refresh token that finX did not replace is used again.
	keptPause = 24 * time.Hour
	// retryPause is the longest time between two tries to rotate a token.
	retryPause = 30 * time.Minute
	// retryShare of the time that is left goes by between two tries: five minutes
	// with a day left.
	retryShare = 288
)

// spread is a number from 0 to 1 that is the connection's own: connections that
// were made in the same second must not come due in the same second.
func spread(id string) float64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // never fails
	return float64(h.Sum32()) / (1 << 32)
}

// margin is how much earlier than its lead a token is rotated: time for the
// rotation itself, and different for each connection.
func (b *Background) margin(id string) time.Duration {
	least := b.Lead / 20
	return least + time.Duration(spread(id)*float64(least))
}

// interval is the age at which the refresh token of a connection is rotated.
func (b *Background) interval(id string) time.Duration {
	// A lead close to the whole lifetime leaves little room for the margin.
	return max(b.Lifetime-b.Lead-b.margin(id), (b.Lifetime-b.Lead)/2)
}

// early is how much before its time a timer may fire and still counts.
func (b *Background) early(id string) time.Duration { return min(time.Minute, b.margin(id)/10) }

func (b *Background) dueAt(rec connection.Record) time.Time {
	return rec.RefreshObtainedAt.Add(b.interval(rec.ID))
}

// isDue reports whether the token is to be rotated, by what the record knows.
// Custody may know of a later token, never of an earlier one.
func (b *Background) isDue(rec connection.Record, now time.Time) bool {
	return !b.dueAt(rec).After(now.Add(b.early(rec.ID)))
}

// endsAt is when the refresh token of a connection dies if nobody uses it.
func (b *Background) endsAt(obtained time.Time) time.Time { return obtained.Add(b.Lifetime) }

// urgency is the time by which a rotation must have happened. A token whose
// time is over by our reckoning can wait: trying it brings certainty, but
// nothing that a minute more would take away, and those that can still be saved
// must not stand behind it.
func (b *Background) urgency(rec connection.Record, now time.Time) time.Time {
	ends := b.endsAt(rec.RefreshObtainedAt)
	if !ends.After(now) {
		return ends.AddDate(1000, 0, 0)
	}
	return ends
}

// after is when the keep-alive looks again after a success that left a token
// obtained at that time. finX may answer without a new refresh token; that one
// stays due and is used again after a pause, not at once.
func (b *Background) after(id string, obtained, now time.Time) time.Time {
	at := obtained.Add(b.interval(id))
	if at.After(now.Add(b.early(id))) {
		return later(at, now.Add(timerFloor))
	}
	return now.Add(max(timerFloor, min(keptPause, b.Lead/10)))
}

// again is when a rotation that failed is tried again: the sooner the less time
// is left, but every half hour at least, and never before finX says.
func (b *Background) again(rec connection.Record, now time.Time, failure error) time.Time {
	left := b.endsAt(rec.RefreshObtainedAt).Sub(now)
	if left <= 0 {
		left = b.Lead // nothing is saved by haste any more
	}
	pause := min(max(left/retryShare, timerFloor), retryPause)
	at := now.Add(pause + time.Duration(spread(rec.ID)*float64(pause)/4))
	if until, ok := fault.Until(failure); ok {
		return later(at, until)
	}
	return at
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// setKeepAlive sets the timer of a connection.
func (f *Flow) setKeepAlive(ctx context.Context, id string, at time.Time) error {
	if err := f.Background.Timers.ScheduleKeepAlive(ctx, id, at); err != nil {
		return fmt.Errorf("flow: setting the keep-alive timer: %w", err)
	}
	return nil
}

// startKeepAlive sets the timer of a connection that was just established, and
// does so again for a redelivery.
func (f *Flow) startKeepAlive(ctx context.Context, rec connection.Record) error {
	if f.Background == nil || rec.KeepAliveAt.IsZero() {
		return nil
	}
	return f.setKeepAlive(ctx, rec.ID, rec.KeepAliveAt)
}

// firstKeepAlive is what startKeepAlive will set the timer to.
func (f *Flow) firstKeepAlive(rec connection.Record) time.Time {
	if f.Background == nil {
		return time.Time{}
	}
	return f.Background.after(rec.ID, rec.RefreshObtainedAt, time.Now().UTC()).UTC()
}

// adoptKeepAlive gives a timer to a connection that was established before
// there were any. The caller writes the record.
func (f *Flow) adoptKeepAlive(ctx context.Context, rec connection.Record) (connection.Record, error) {
	if f.Background == nil || !rec.KeepAliveAt.IsZero() {
		return rec, nil
	}
	at := f.firstKeepAlive(rec)
	if err := f.setKeepAlive(ctx, rec.ID, at); err != nil {
		return rec, err
	}
	rec.KeepAliveAt = at
	return rec, nil
}

// rotate uses the refresh token of a connection and sets the timer to whatever
// comes next. failed is why the token could not be replaced, which has been
// taken care of; err is why that could not be done.
func (f *Flow) rotate(ctx context.Context, cause events.Cause, rec connection.Record, rev uint64) (failed, err error) {
	b := f.Background
	since := time.Now().Add(b.early(rec.ID) - b.interval(rec.ID))
	grant, failed := b.Keeping.Rotate(ctx, rec.ID, since)
	f.Metrics.rotated(failed)
	if failed == nil {
		return nil, f.keptAlive(ctx, cause, rec, rev, grant)
	}
	if reason, ended := endOf(failed); ended {
		err := f.endAccess(ctx, ending{cause: cause, rec: rec, rev: rev, reason: reason, err: failed})
		if err == nil {
			return nil, nil
		}
		// The outcome is kept in custody: the next try tells without asking finX.
		return err, f.keepTrying(ctx, rec, rev, err)
	}
	if err := f.keepTrying(ctx, rec, rev, failed); err != nil {
		return failed, err
	}
	if _, busy := fault.Until(failed); busy && fault.DependencyOf(failed) == "" {
		return failed, nil // somebody else is at it
	}
	return failed, f.warn(ctx, cause, rec.ID, b.endsAt(rec.RefreshObtainedAt))
}

// keptAlive sets the next timer and writes down what is known of the token now.
func (f *Flow) keptAlive(ctx context.Context, cause events.Cause, rec connection.Record, rev uint64, grant custody.Grant) error {
	b := f.Background
	now := time.Now().UTC()
	obtained := later(grant.RefreshObtainedAt, rec.RefreshObtainedAt)
	next := b.after(rec.ID, obtained, now).UTC()
	if err := f.setKeepAlive(ctx, rec.ID, next); err != nil {
		return err
	}
	err := f.editKeepAlive(ctx, rec, rev, func(r connection.Record) connection.Record {
		r.RefreshObtainedAt, r.KeepAliveAt = later(r.RefreshObtainedAt, obtained), next
		return r
	})
	if err != nil {
		return err
	}
	return f.warn(ctx, cause, rec.ID, b.endsAt(obtained))
}

// keepTrying sets the timer for another try. Waiting for finX or Vault holds no
// slot and ends in no dead letter: a keep-alive is never given up.
func (f *Flow) keepTrying(ctx context.Context, rec connection.Record, rev uint64, failure error) error {
	at := f.Background.again(rec, time.Now(), failure).UTC()
	if err := f.setKeepAlive(ctx, rec.ID, at); err != nil {
		return err
	}
	f.Logger.WarnContext(ctx, "refresh token not rotated yet", "connection_id", rec.ID, "again_at", at, "error", failure)
	return f.editKeepAlive(ctx, rec, rev, func(r connection.Record) connection.Record {
		r.KeepAliveAt = at
		return r
	})
}

// standBack sets the timer for another try because more urgent connections are
// first. The record goes on saying that this one is overdue, so that CatchUp
// finds it.
func (f *Flow) standBack(ctx context.Context, rec connection.Record) error {
	f.Metrics.kept(keptCrowded)
	return f.setKeepAlive(ctx, rec.ID, f.Background.again(rec, time.Now(), nil))
}

// editKeepAlive writes a change of the keep-alive unless the tokens that it is
// about are not in force any more.
func (f *Flow) editKeepAlive(ctx context.Context, rec connection.Record, rev uint64, change func(connection.Record) connection.Record) error {
	return f.edit(ctx, rec, rev, func(r connection.Record) (connection.Record, error) {
		if r.State == connection.Established && r.EstablishedBy == rec.EstablishedBy {
			r = change(r)
		}
		return r, nil
	})
}
