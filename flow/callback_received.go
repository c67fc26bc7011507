package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/crashpoint"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// CallbackReceived ends the user's trip to the bank.
//
//	state looked up → consumed → code exchanged, tokens stored
//	→ connection.established → state moved → transactions.sync.requested
//
// or connection.failed when the user cancelled, the bank refused, or the code
// is of no use. A renewal may come without a code, see renewed.
func (f *Flow) CallbackReceived(ctx context.Context, e events.Envelope, in events.CallbackReceived) error {
	binding, err := f.States.LookupState(ctx, in.State)
	if errors.Is(err, connection.ErrNotFound) {
		return fault.Permanent(fault.UnknownState, &events.FieldError{Field: "state", Problem: "no connection is waiting for it"})
	}
	if err != nil {
		return fmt.Errorf("flow: looking up the state: %w", err)
	}
	rec, rev, err := f.record(ctx, binding.ConnectionID)
	if err != nil {
		return err
	}
	if rec.State == connection.Erased {
		return fault.Permanent(fault.Rejected, &events.FieldError{Field: "state", Problem: "its connection was erased"})
	}
	if !in.Success {
		return f.callbackWithoutCode(ctx, e, in, binding, rec, rev)
	}
	if in.Code.IsZero() {
		return f.renewed(ctx, e, in, binding, rec, rev)
	}
	if hash := binding.CodeSHA256; hash != "" && hash != in.Code.SHA256() {
		return stateConsumed()
	}
	return f.approved(ctx, e, in, binding, rec, rev)
}

// callbackWithoutCode handles a user who cancelled or a bank that refused. On a
// state that a code has consumed it changes nothing: the browser's back button
// must not take an established connection away.
func (f *Flow) callbackWithoutCode(ctx context.Context, e events.Envelope, in events.CallbackReceived,
	binding connection.StateBinding, rec connection.Record, rev uint64,
) error {
	if binding.CodeSHA256 != "" {
		return nil
	}
	reason, detail := events.ReasonUnsuccessful, "finX reports success=false"
	if in.Cancelled {
		reason, detail = events.ReasonCancelled, "the user cancelled"
	}
	if rec.State != connection.Established && rec.LastError != nil && rec.LastError.Reason == reason {
		return nil // told already: a repetition, or a replay
	}
	return f.failConnection(ctx, e.Cause(), rec, rev, failure{state: in.State, reason: reason, detail: detail})
}

func (f *Flow) approved(ctx context.Context, e events.Envelope, in events.CallbackReceived,
	binding connection.StateBinding, rec connection.Record, rev uint64,
) error {
	switch hash := in.Code.SHA256(); {
	case rec.EstablishedBy == hash:
		return f.setGoing(ctx, e, hash, rec) // an earlier delivery of this callback did the rest
	case rec.Settled(hash):
		return nil // a replay: this code came to its end before another one
	}
	tooOld := time.Since(e.Time) > f.CodeLifetime
	// A code is sent only after it has consumed its state: on one that nobody has
	// used, the usual case, there is no earlier exchange to ask for.
	if binding.CodeSHA256 != "" || tooOld {
		grant, done, err := f.Tokens.Exchanged(ctx, rec.ID, in.Code)
		switch {
		case err != nil:
			return fmt.Errorf("flow: asking for an earlier exchange: %w", err)
		case done:
			return f.establish(ctx, e, in, rec, rev, grant)
		case tooOld:
			return f.tooOld(ctx, e, in, binding, rec, rev)
		}
	}
	grant, err := f.exchange(ctx, in, binding, rec)
	if err != nil {
		return f.exchangeFailed(ctx, e, in, rec, rev, err)
	}
	return f.establish(ctx, e, in, rec, rev, grant)
}

// exchange consumes the state before the code is spent, so that of two
// callbacks with different codes on one state only one ever reaches finX.
func (f *Flow) exchange(ctx context.Context, in events.CallbackReceived, binding connection.StateBinding, rec connection.Record) (custody.Grant, error) {
	err := f.States.ConsumeState(ctx, in.State, binding, in.Code.SHA256(), time.Now().UTC())
	if errors.Is(err, connection.ErrStateConsumed) {
		return custody.Grant{}, stateConsumed()
	}
	if err != nil {
		return custody.Grant{}, fmt.Errorf("flow: consuming the state: %w", err)
	}
	crashpoint.Reached(crashpoint.CallbackConsumed)
	return f.Tokens.Exchange(ctx, rec.ID, in.Code, rec.RedirectURI)
}

func (f *Flow) exchangeFailed(ctx context.Context, e events.Envelope, in events.CallbackReceived,
	rec connection.Record, rev uint64, err error,
) error {
	if errors.Is(err, custody.ErrCodeRejected) || errors.Is(err, custody.ErrExchangeUnknown) {
		return f.failConnection(ctx, e.Cause(), rec, rev, badCode(in.State, in.Code.SHA256(), err))
	}
	return fmt.Errorf("flow: token exchange: %w", err)
}

// badCode is the failure of a code that was spent and brought no tokens. end is
// ErrCodeRejected or ErrExchangeUnknown.
func badCode(state, code string, end error) failure {
	if errors.Is(end, custody.ErrCodeRejected) {
		return failure{state: state, reason: events.ReasonCodeRejected, detail: detailOf(end), code: code}
	}
	return failure{
		state: state, reason: events.ReasonExchangeOutcomeUnknown, code: code,
		detail: "finX may have answered an earlier call whose answer was lost; the user must connect again",
	}
}

// establish publishes that the connection stands, moves the state and asks for
// the first fetch. In this order, because the fetch looks at the state and may
// begin before this function returns.
func (f *Flow) establish(ctx context.Context, e events.Envelope, in events.CallbackReceived,
	rec connection.Record, rev uint64, grant custody.Grant,
) error {
	if err := f.announceEstablished(ctx, e, in.State, rec, grant); err != nil {
		return err
	}
	crashpoint.Reached(crashpoint.CallbackAnnounced)
	err := f.edit(ctx, rec, rev, func(r connection.Record) (connection.Record, error) {
		now := time.Now().UTC()
		var err error
		if r.State == connection.Requested {
			// Whoever made the link died before it could write so.
			if r, err = r.Move(connection.LinkCreated, now, "widget link used"); err != nil {
				return r, err
			}
		}
		if r, err = r.Move(connection.CallbackReceived, now, "the user approved"); err != nil {
			return r, err
		}
		r = r.MarkSettled(in.Code.SHA256()).Consent(saidYes(e, now))
		r.EstablishedBy, r.RenewalState = in.Code.SHA256(), ""
		r.Scope, r.EstablishedAt, r.RefreshObtainedAt = grant.Scope, grant.RefreshObtainedAt, grant.RefreshObtainedAt
		r.KeepAliveAt = f.firstKeepAlive(r)
		rec.KeepAliveAt = r.KeepAliveAt
		return r.Move(connection.Established, now, "tokens stored")
	})
	if err != nil {
		return err
	}
	crashpoint.Reached(crashpoint.CallbackMoved)
	rec.LastFetch = nil // whatever was fetched before has nothing to do with these tokens
	return f.setGoing(ctx, e, in.Code.SHA256(), rec)
}

// saidYes is when the user gave the consent that a callback tells of: a little before
// the callback was sent. A clock ahead of ours does not make it a later one.
func saidYes(e events.Envelope, now time.Time) time.Time {
	if e.Time.IsZero() || e.Time.After(now) {
		return now
	}
	return e.Time
}

// setGoing starts what an established connection lives by: the timer that keeps
// its tokens alive, and the first fetch. by is what it was established by.
func (f *Flow) setGoing(ctx context.Context, e events.Envelope, by string, rec connection.Record) error {
	if err := f.startKeepAlive(ctx, rec); err != nil {
		return err
	}
	return f.askFirstFetch(ctx, e, by, rec)
}

// announceEstablished says that the tokens of a connection are in custody. The
// event is named after what the connection stood on before, so that two callbacks
// of one trip to the bank, handled side by side, say it once.
func (f *Flow) announceEstablished(ctx context.Context, e events.Envelope, state string, rec connection.Record, grant custody.Grant) error {
	o := events.NewConnectionEstablished(e.Cause(), events.ConnectionEstablished{
		ConnectionID: rec.ID, UserID: rec.UserID, State: state,
		Scope: grant.Scope, EstablishedAt: grant.RefreshObtainedAt,
	})
	o.ID = events.UUIDv5(o.Type, rec.ID, rec.EstablishedBy)
	if err := f.Bus.Publish(ctx, o); err != nil {
		return fmt.Errorf("flow: announcing the connection: %w", err)
	}
	return nil
}

// askFirstFetch asks for the fetch that follows a callback, unless there was
// one since: a redelivery or a replay of the callback must not make another.
// by is what the connection was established by.
func (f *Flow) askFirstFetch(ctx context.Context, e events.Envelope, by string, rec connection.Record) error {
	if last := rec.LastFetch; last != nil && !last.StartedAt.Before(rec.EstablishedAt) {
		return nil
	}
	// Named after the code: a repetition, also one under an id of its own, must
	// ask for the same fetch.
	err := f.Bus.RequestSync(ctx, events.UUIDv5("sync", rec.ID, by), e.Time, e.Cause(), events.SyncRequested{
		ConnectionID: rec.ID, Trigger: events.TriggerCallback, Reason: "connection established",
	})
	if err != nil {
		return fmt.Errorf("flow: asking for the first fetch: %w", err)
	}
	crashpoint.Reached(crashpoint.CallbackAsked)
	return nil
}

func stateConsumed() error {
	return fault.Permanent(fault.Rejected, &events.FieldError{
		Field: "state", Problem: "consumed by an earlier callback; this one's code was not sent to finX",
	})
}
