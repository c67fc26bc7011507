package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/crashpoint"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// renewed handles a success without a code. finX does not say whether a renewal
// (POST /ongoing/sync) brings one; where it does not, the tokens in custody are
// to go on working. It says nothing of them, so they are tried before anybody
// is told. The state is not consumed: a code that comes after all is exchanged.
//
// A first link without a code is an error: there are no tokens yet.
func (f *Flow) renewed(ctx context.Context, e events.Envelope, in events.CallbackReceived,
	binding connection.StateBinding, rec connection.Record, rev uint64,
) error {
	if in.State == rec.OAuthState {
		return fault.Permanent(fault.Malformed, &events.FieldError{Field: "code", Problem: "missing"})
	}
	mark := renewalMark(e)
	switch {
	case rec.EstablishedBy == mark:
		return f.setGoing(ctx, e, mark, rec) // an earlier delivery did the rest
	case rec.Settled(mark), binding.CodeSHA256 != "":
		return nil // its end is known, or a code has done the renewal
	case rec.State == connection.Established && rec.RenewalState != in.State:
		return nil // a repetition under an id of its own, such as a browser's reload
	}
	grant, err := f.prove(ctx, rec)
	switch {
	case isGone(err):
		return f.failConnection(ctx, e.Cause(), rec, rev, failure{
			state: in.State, reason: events.ReasonUnsuccessful, code: mark,
			detail: "the bank renewed the access, but finX gave no code and the tokens of before are gone: " + detailOf(err),
		})
	case err != nil:
		return fmt.Errorf("flow: trying the tokens after a renewal: %w", err)
	}
	return f.reestablish(ctx, e, in.State, rec, rev, grant)
}

// renewalMark is to a callback without a code what the code's hash is to one
// with it: how a redelivery or a replay is known.
func renewalMark(e events.Envelope) string {
	return events.UUIDv5("renewed without a code", e.Source, e.ID)
}

// prove makes one cheap call with the tokens of a connection. That an access
// token's time has not come, or that a refresh token is there, proves nothing
// where the access was lost before. Neither does a refusal of before the
// renewal, which custody would go on repeating.
func (f *Flow) prove(ctx context.Context, rec connection.Record) (custody.Grant, error) {
	if f.Background != nil {
		if err := f.Background.Keeping.Reconsider(ctx, rec.ID); err != nil {
			return custody.Grant{}, fmt.Errorf("forgetting an earlier refusal: %w", err)
		}
	}
	job := &fetch{Flow: f, rec: rec}
	err := job.withToken(ctx, func() error {
		_, err := f.Data.Accounts(ctx, job.grant.AccessToken)
		return err
	})
	return job.grant, err
}

// isGone reports whether err says that the tokens will never work again.
func isGone(err error) bool {
	for _, end := range []error{custody.ErrNoTokens, custody.ErrRefreshRejected, custody.ErrRotationUnknown, finx.ErrUnauthorized} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// reestablish is establish for tokens that were in custody before.
func (f *Flow) reestablish(ctx context.Context, e events.Envelope, state string,
	rec connection.Record, rev uint64, grant custody.Grant,
) error {
	mark := renewalMark(e)
	if err := f.announceEstablished(ctx, e, state, rec, grant); err != nil {
		return err
	}
	crashpoint.Reached(crashpoint.CallbackAnnounced)
	err := f.edit(ctx, rec, rev, func(r connection.Record) (connection.Record, error) {
		now := time.Now().UTC()
		r, err := r.Move(connection.Established, now, "renewed without a new code")
		if err != nil {
			return r, err
		}
		r = r.MarkSettled(mark).Consent(saidYes(e, now))
		r.EstablishedBy, r.RenewalState = mark, ""
		r.Scope, r.EstablishedAt, r.RefreshObtainedAt = grant.Scope, now, grant.RefreshObtainedAt
		r.KeepAliveAt = f.firstKeepAlive(r)
		rec.KeepAliveAt = r.KeepAliveAt
		return r, nil
	})
	if err != nil {
		return err
	}
	crashpoint.Reached(crashpoint.CallbackMoved)
	rec.LastFetch = nil // of before the renewal
	return f.setGoing(ctx, e, mark, rec)
}
