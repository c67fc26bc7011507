package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// SyncRequested fetches the accounts and transactions of a connection. Callback,
// timer, operator and upstream all ask for a fetch by this one event.
//
//	window fixed in the record, next timer set → access token (refreshed when due)
//	→ accounts → per account page by page → transactions.fetched × n
//	→ transactions.fetch.completed → state written
func (f *Flow) SyncRequested(ctx context.Context, e events.Envelope, in events.SyncRequested) error {
	held, release, err := f.Lock(ctx, "fetch."+in.ConnectionID)
	if err != nil {
		return fmt.Errorf("flow: another fetch of this connection is running: %w", err)
	}
	defer release()
	rec, rev, err := f.record(held, in.ConnectionID)
	if err != nil {
		return err
	}
	fetchID := events.FetchID(e)
	telemetry.SpanOf(ctx).Text(telemetry.KeyFetch, fetchID)
	switch {
	case rec.FetchDone(fetchID):
		return f.schedule(held, rec)
	case rec.State != connection.Established:
		return f.notEstablished(held, e, rec, fetchID, in)
	}
	if rec, rev, err = f.openFetch(held, rec, rev, fetchID, in); err != nil {
		return err
	}
	job := &fetch{Flow: f, cause: e.Cause(), rec: rec}
	completed, err := job.run(held)
	if err == nil {
		err = f.completeFetch(held, job, rev, completed)
	}
	f.Metrics.fetched(job.rec.Fetch.Trigger, err)
	if err != nil {
		return f.fetchFailed(held, job, rev, err)
	}
	return nil
}

// trigger is what made this fetch happen; a request that does not say comes
// from outside.
func trigger(in events.SyncRequested) string {
	if in.Trigger == "" {
		return events.TriggerRequest
	}
	return in.Trigger
}

// abandonedAfter is how long a fetch that is open and at rest keeps others of
// the same connection waiting. Within that time it comes back: its message is
// tried again, or becomes a dead letter and closes it. Two that fail side by
// side must not take each other's window away at every try.
const abandonedAfter = time.Hour

// openFetch fixes the window and the start in the record, so that a redelivery
// fetches the same window and publishes under the same ids, and sets the next
// timer before anything can go wrong: a fetch that dies must not end the chain.
func (f *Flow) openFetch(ctx context.Context, rec connection.Record, rev uint64, fetchID string, in events.SyncRequested) (connection.Record, uint64, error) {
	now := time.Now().UTC()
	switch open := rec.Fetch; {
	case open != nil && open.ID == fetchID:
		return rec, rev, f.schedule(ctx, rec)
	case open != nil && now.Sub(open.StartedAt) < abandonedAfter:
		return rec, 0, fault.Throttled("", now.Add(openWait), fmt.Errorf("flow: opening the fetch: fetch %s of this connection is to be finished first", open.ID))
	}
	rec = rec.OpenFetch(fetchID, trigger(in), connection.Ask{Since: in.Since, Until: in.Until, Full: in.Full}, now)
	rec.NextFetchAt = now.Add(f.SyncInterval)
	rec, err := f.adoptKeepAlive(ctx, rec)
	if err != nil {
		return rec, 0, err
	}
	rev, err = f.Records.Update(ctx, rec, rev)
	if err != nil {
		return rec, 0, fmt.Errorf("flow: opening the fetch: %w", err)
	}
	return rec, rev, f.schedule(ctx, rec)
}

// openWait is when a fetch that waits for another to be finished looks again.
const openWait = 15 * time.Second

// schedule sets the timer of the next fetch; setting it again replaces it.
func (f *Flow) schedule(ctx context.Context, rec connection.Record) error {
	if rec.State != connection.Established || rec.NextFetchAt.IsZero() {
		return nil
	}
	err := f.Bus.ScheduleSync(ctx, rec.ID, rec.NextFetchAt, events.SyncRequested{
		ConnectionID: rec.ID, Trigger: events.TriggerSchedule, Reason: "sync interval",
	})
	if err != nil {
		return fmt.Errorf("flow: scheduling the next fetch: %w", err)
	}
	return nil
}

// notEstablished answers a request for data that nobody has access to. A timer
// of a connection that ended is no news to anybody.
func (f *Flow) notEstablished(ctx context.Context, e events.Envelope, rec connection.Record, fetchID string, in events.SyncRequested) error {
	if trigger(in) == events.TriggerSchedule {
		return nil
	}
	return f.announceFailure(ctx, e.Cause(), rec, events.FetchFailed{
		FetchID: fetchID, Trigger: trigger(in),
		Reason: "not_established", Detail: "the connection is in state " + string(rec.State),
	})
}

// completeFetch publishes that the fetch is whole, after all its parts are
// stored, and writes what the next window opens from.
func (f *Flow) completeFetch(ctx context.Context, job *fetch, rev uint64, done fetched) error {
	finished := time.Now().UTC()
	open := job.rec.Fetch
	err := f.Bus.Publish(ctx, events.NewFetchCompleted(job.cause, events.FetchCompleted{
		ConnectionID: job.rec.ID, UserID: job.rec.UserID, FetchID: open.ID, Trigger: open.Trigger,
		Accounts: done.accounts, Transactions: done.transactions, EventIDs: done.eventIDs,
		StartedAt: open.StartedAt, FinishedAt: finished,
	}))
	if err != nil {
		return fmt.Errorf("flow: announcing the fetch: %w", err)
	}
	f.Metrics.completed(open.Trigger, open.StartedAt, finished, done)
	return f.edit(ctx, job.rec, rev, func(r connection.Record) (connection.Record, error) {
		if r.Fetch == nil || r.Fetch.ID != open.ID {
			r.Fetch = open // given up by somebody who thought us dead; the work is done all the same
		}
		r.RefreshObtainedAt = later(r.RefreshObtainedAt, done.refreshObtainedAt)
		return r.CloseFetch(finished, done.marks, done.transactions), nil
	})
}

// fetchFailed decides whether a failed fetch ends something. A verdict to try
// again goes back to the consumer as it is.
func (f *Flow) fetchFailed(ctx context.Context, job *fetch, rev uint64, err error) error {
	if reason, ended := endOf(err); ended {
		return f.endAccess(ctx, ending{cause: job.cause, rec: job.rec, rev: rev, reason: reason, err: err, fetch: job})
	}
	if fault.Of(err) != fault.GiveUp {
		return err
	}
	if pubErr := f.announceFailure(ctx, job.cause, job.rec, job.failed(reasonOf(err), err)); pubErr != nil {
		return pubErr
	}
	return f.edit(ctx, job.rec, rev, func(r connection.Record) (connection.Record, error) {
		r.Fetch = nil
		return r.MarkFetchDone(job.rec.Fetch.ID).Note(time.Now().UTC(), reasonOf(err), detailOf(err)), nil
	})
}

// failed is what is said of this fetch when it came to nothing.
func (j *fetch) failed(reason string, cause error) events.FetchFailed {
	open := j.rec.Fetch
	return events.FetchFailed{
		FetchID: open.ID, Trigger: open.Trigger, Reason: reason, Detail: detailOf(cause), RetryAt: j.rec.NextFetchAt,
	}
}

// announceFailure publishes transactions.fetch.failed for a connection.
func (f *Flow) announceFailure(ctx context.Context, cause events.Cause, rec connection.Record, d events.FetchFailed) error {
	d.ConnectionID, d.UserID = rec.ID, rec.UserID
	if err := f.Bus.Publish(ctx, events.NewFetchFailed(cause, d)); err != nil {
		return fmt.Errorf("flow: announcing the failed fetch: %w", err)
	}
	return nil
}

// SyncGivenUp tells downstream that a fetch which was tried for as long as
// allowed will not be whole. The next one is scheduled already.
func (f *Flow) SyncGivenUp(ctx context.Context, e events.Envelope, in events.SyncRequested, class fault.Class, cause error) error {
	rec, rev, err := f.Records.Get(ctx, in.ConnectionID)
	if errors.Is(err, connection.ErrNotFound) {
		return nil // nobody to tell
	}
	if err != nil {
		return fmt.Errorf("flow: reading the connection: %w", err)
	}
	fetchID := events.FetchID(e)
	if rec.FetchDone(fetchID) {
		return nil
	}
	err = f.announceFailure(ctx, e.Cause(), rec, events.FetchFailed{
		FetchID: fetchID, Trigger: trigger(in), Reason: string(class), Detail: detailOf(cause), RetryAt: rec.NextFetchAt,
	})
	if err != nil {
		return err
	}
	f.Metrics.givenUp(trigger(in))
	return f.edit(ctx, rec, rev, func(r connection.Record) (connection.Record, error) {
		if r.Fetch != nil && r.Fetch.ID == fetchID {
			r.Fetch = nil
		}
		return r.Note(time.Now().UTC(), string(class), detailOf(cause)), nil
	})
}

// reasonOf is the machine-readable reason of transactions.fetch.failed.
func reasonOf(err error) string {
	if fault.ClassOf(err) == fault.Oversize {
		return "oversize"
	}
	return "rejected"
}
