package flow

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/crashpoint"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// ending is how the access of a connection ended.
type ending struct {
	cause  events.Cause // the event at hand; the zero Cause when there was none
	rec    connection.Record
	rev    uint64
	reason string
	err    error
	fetch  *fetch // that came to nothing with it; nil when none was running
}

// endOf returns the reason of connection.reauthorization.required for an error
// of custody that no repetition mends.
func endOf(err error) (reason string, ended bool) {
	switch {
	case errors.Is(err, custody.ErrRefreshRejected):
		return events.ReasonRefreshRejected, true
	case errors.Is(err, custody.ErrRotationUnknown):
		return events.ReasonRotationOutcomeUnknown, true
	case errors.Is(err, custody.ErrNoTokens):
		return events.ReasonAccessRevoked, true
	}
	return "", false
}

// endAccess tells upstream that the access of a connection has ended, with a
// ready link for its user, and that the fetch at hand, if any, came to nothing.
func (f *Flow) endAccess(ctx context.Context, e ending) error {
	rec := e.rec
	link, err := f.renewalLink(ctx, rec, e.rev)
	if err != nil {
		return err
	}
	crashpoint.Reached(crashpoint.ReauthLinked)
	o := events.NewReauthorizationRequired(e.cause, events.ReauthorizationRequired{
		ConnectionID: rec.ID, UserID: rec.UserID, Reason: e.reason, Location: link,
	})
	// An access ends once. Fetch, keep-alive and sweep may all find out, and then
	// they say the same.
	o.ID = events.UUIDv5(o.Type, rec.ID, rec.EstablishedBy, e.reason)
	if err := f.Bus.Publish(ctx, o); err != nil {
		return fmt.Errorf("flow: announcing the lost access: %w", err)
	}
	f.Metrics.accessEnded(e.reason)
	crashpoint.Reached(crashpoint.ReauthAnnounced)
	if e.fetch != nil {
		if err := f.announceFailure(ctx, e.cause, rec, e.fetch.failed("reauthorization_required", e.err)); err != nil {
			return err
		}
	}
	return f.edit(ctx, rec, e.rev, func(r connection.Record) (connection.Record, error) {
		if r.EstablishedBy != rec.EstablishedBy || r.State == connection.Erased {
			// The user was faster than this write. The fetch that came to nothing
			// must not stand in the way of the one that follows the callback.
			if e.fetch != nil && r.Fetch != nil && r.Fetch.ID == rec.Fetch.ID {
				r = r.MarkFetchDone(rec.Fetch.ID)
				r.Fetch = nil
			}
			return r, nil
		}
		if e.fetch != nil {
			r = r.MarkFetchDone(rec.Fetch.ID)
		}
		r.Fetch, r.NextFetchAt, r.KeepAliveAt = nil, time.Time{}, time.Time{}
		return r.RequireReauthorization(time.Now().UTC(), e.reason, detailOf(e.err))
	})
}

// renewalLink makes a link under a state of its own, bound to the same
// connection, so that the callback finds its way back here. A finX that refuses
// to make one leaves the link empty: the news matters more.
//
// The state is kept in the record before it is bound: a redelivery uses it
// again, and a long outage does not leave one binding a try.
func (f *Flow) renewalLink(ctx context.Context, rec connection.Record, rev uint64) (secret.Text, error) {
	state := rand.Text()
	err := f.edit(ctx, rec, rev, func(r connection.Record) (connection.Record, error) {
		if r.RenewalState == "" {
			r.RenewalState = state
		}
		state = r.RenewalState
		return r, nil
	})
	if err != nil {
		return secret.Text{}, err
	}
	if err := f.States.BindState(ctx, state, rec.ID); err != nil {
		return secret.Text{}, fmt.Errorf("flow: binding the renewal state: %w", err)
	}
	var request events.ConnectRequested
	if err := json.Unmarshal(rec.Request, &request); err != nil {
		return secret.Text{}, fault.Permanent(fault.Rejected, fmt.Errorf("flow: reading the kept request: %w", err))
	}
	link, err := f.Links.CreateSync(ctx, finx.SyncRequest{
		UserID: rec.UserID, RedirectURI: rec.RedirectURI, State: state, Language: request.Language,
		SyncPeriod: request.SyncPeriod, SaveSecrets: request.SaveSecrets,
		AccountIDs: slices.Sorted(maps.Keys(rec.Accounts)),
	})
	if fault.Of(err) == fault.GiveUp {
		f.Logger.WarnContext(ctx, "renewal link refused", "connection_id", rec.ID, "error", err)
		return secret.Text{}, nil
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("flow: making the renewal link: %w", err)
	}
	return link.Location, nil
}
