package flow

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// reauthorize tells upstream that the access of a connection has ended, with a
// ready link for its user, and that the fetch at hand came to nothing.
func (f *Flow) reauthorize(ctx context.Context, job *fetch, rev uint64, reason string, cause error) error {
	rec := job.rec
	link, err := f.renewalLink(ctx, rec, rev)
	if err != nil {
		return err
	}
	err = f.Bus.Publish(ctx, events.NewReauthorizationRequired(job.cause, events.ReauthorizationRequired{
		ConnectionID: rec.ID, UserID: rec.UserID, Reason: reason, Location: link,
	}))
	if err != nil {
		return fmt.Errorf("flow: announcing the lost access: %w", err)
	}
	if err := f.announceFailure(ctx, job.cause, rec, job.failed("reauthorization_required", cause)); err != nil {
		return err
	}
	return f.edit(ctx, rec, rev, func(r connection.Record) (connection.Record, error) {
		if r.EstablishedBy != rec.EstablishedBy {
			return r, nil // the user was faster than this write
		}
		r = r.MarkFetchDone(job.rec.Fetch.ID)
		r.Fetch, r.NextFetchAt = nil, time.Time{}
		return r.RequireReauthorization(time.Now().UTC(), reason, detailOf(cause))
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
