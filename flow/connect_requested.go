package flow

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/crashpoint"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// ConnectRequested makes the widget link that a user asked for.
//
//	record and state bound → link made by finX → widget.link.created → state moved
//
// A link is cheap and finX has no idempotency key, so a redelivery after a
// crash may make a second link; its event has the same id as the first one's.
func (f *Flow) ConnectRequested(ctx context.Context, e events.Envelope, in events.ConnectRequested) error {
	if err := f.Redirects.Check(in.RedirectURI); err != nil {
		return err
	}
	rec, rev, err := f.openConnection(ctx, e, in)
	if err != nil {
		return err
	}
	traceOf(ctx, rec)
	if rec.State != connection.Requested {
		return nil // an earlier delivery of this event finished the job
	}
	link, err := f.Links.CreateAccess(ctx, accessRequest(in, rec.OAuthState))
	if fault.Of(err) == fault.GiveUp {
		return f.linkRejected(ctx, e, rec, rev, err)
	}
	if err != nil {
		return fmt.Errorf("flow: making the widget link: %w", err)
	}
	err = f.Bus.Publish(ctx, events.NewWidgetLinkCreated(e.Cause(), events.WidgetLinkCreated{
		ConnectionID: rec.ID, UserID: rec.UserID, State: rec.OAuthState,
		Location: link.Location, FlowID: link.FlowID, TrackingID: rec.TrackingID,
	}))
	if err != nil {
		return fmt.Errorf("flow: announcing the widget link: %w", err)
	}
	return f.edit(ctx, rec, rev, func(r connection.Record) (connection.Record, error) {
		if r.State != connection.Requested {
			return r, nil // the callback was faster than this write
		}
		r.FlowID = link.FlowID
		return r.Move(connection.LinkCreated, time.Now().UTC(), "widget link created")
	})
}

// accessRequest passes the widget fields on as upstream gave them.
func accessRequest(in events.ConnectRequested, state string) finx.AccessRequest {
	out := finx.AccessRequest{
		RedirectURI: in.RedirectURI, UserID: in.UserID, State: state, TrackingID: in.TrackingID,
		Language: in.Language, ProviderID: in.ProviderID, AccountTypes: in.AccountTypes,
		AllowMultiSelection: in.AllowMultiSelection, SyncPeriod: in.SyncPeriod, SaveSecrets: in.SaveSecrets,
	}
	for _, a := range in.Accounts {
		out.Accounts = append(out.Accounts, finx.AccountRef(a))
	}
	return out
}

// linkRejected tells upstream that finX refuses this request for good.
func (f *Flow) linkRejected(ctx context.Context, e events.Envelope, rec connection.Record, rev uint64, cause error) error {
	return f.failConnection(ctx, e.Cause(), rec, rev, failure{
		state: rec.OAuthState, reason: events.ReasonLinkRejected, detail: detailOf(cause),
	})
}

// openConnection returns the record of the connection that this event opens,
// making it when this is the first delivery.
func (f *Flow) openConnection(ctx context.Context, e events.Envelope, in events.ConnectRequested) (connection.Record, uint64, error) {
	id := events.ConnectionID(e)
	rec, rev, err := f.Records.Get(ctx, id)
	switch {
	case errors.Is(err, connection.ErrNotFound):
		rec, rev, err = f.newConnection(ctx, e, in, id)
	case err != nil:
		return rec, 0, fmt.Errorf("flow: reading the connection: %w", err)
	}
	if err != nil {
		return rec, 0, err
	}
	if rec.UserID != in.UserID {
		return rec, 0, fault.Permanent(fault.Rejected, &events.FieldError{
			Field: "id", Problem: "the same event id was used before for another user_id",
		})
	}
	return rec, rev, nil
}

// newConnection binds the state parameter first and writes the record second:
// a crash in between leaves a binding that a redelivery finds to be its own.
func (f *Flow) newConnection(ctx context.Context, e events.Envelope, in events.ConnectRequested, id string) (connection.Record, uint64, error) {
	if in.State == "" {
		in.State = rand.Text() // 130 random bits: the CSRF protection of RFC 6749 §10.12
	}
	err := f.States.BindState(ctx, in.State, id)
	if errors.Is(err, connection.ErrStateTaken) {
		return connection.Record{}, 0, fault.Permanent(fault.Rejected, &events.FieldError{
			Field: "state", Problem: "already in use by another connection; a state is good for one",
		})
	}
	if err != nil {
		return connection.Record{}, 0, fmt.Errorf("flow: binding the state: %w", err)
	}
	request, err := json.Marshal(in)
	if err != nil {
		return connection.Record{}, 0, fault.Permanent(fault.Malformed, fmt.Errorf("flow: keeping the request: %w", err))
	}
	rec := connection.New(id, in.UserID, time.Now().UTC())
	rec.CauseID, rec.Request = e.ID, request
	rec.RedirectURI, rec.OAuthState, rec.TrackingID = in.RedirectURI, in.State, in.TrackingID
	rev, err := f.Records.Create(ctx, rec)
	if errors.Is(err, connection.ErrExists) {
		// Another replica has the same event; what it wrote is as good as ours.
		rec, rev, err = f.Records.Get(ctx, id)
	}
	if err != nil {
		return rec, 0, fmt.Errorf("flow: writing the connection: %w", err)
	}
	return rec, rev, nil
}

// failure is why a pass through the widget came to nothing.
type failure struct {
	state, reason, detail string
	// code is the hash of the code that came to its end with it, or the mark of a
	// renewal without one; empty when there was none.
	code string
	// open: the code may still be exchanged by a redrive.
	open bool
}

// failConnection publishes connection.failed and moves the connection there.
func (f *Flow) failConnection(ctx context.Context, cause events.Cause, rec connection.Record, rev uint64, why failure) error {
	o := events.NewConnectionFailed(cause, events.ConnectionFailed{
		ConnectionID: rec.ID, UserID: rec.UserID, State: why.state, Reason: why.reason, Detail: why.detail,
	})
	if why.code != "" {
		// A code comes to its end once, whether its callback or the sweep finds out.
		o.ID = events.UUIDv5(o.Type, rec.ID, why.code, why.reason)
	} else {
		o.ID = events.UUIDv5(o.Type, rec.ID, why.state, why.reason)
	}
	if err := f.Bus.Publish(ctx, o); err != nil {
		return fmt.Errorf("flow: announcing the failure: %w", err)
	}
	f.Metrics.connectionFailed(why.reason)
	crashpoint.Reached(crashpoint.CallbackFailed)
	return f.edit(ctx, rec, rev, func(r connection.Record) (connection.Record, error) {
		if why.code != "" && !why.open {
			r = r.MarkSettled(why.code)
		}
		if slices.Contains([]connection.State{connection.Established, connection.ReauthorizationRequired, connection.Erased}, r.State) {
			return r, nil // a renewal that came to nothing takes nothing away
		}
		return r.Fail(time.Now().UTC(), why.reason, why.detail)
	})
}

// detailOf returns what finX said, without the path of calls that led there.
func detailOf(err error) string {
	if api, ok := errors.AsType[*finx.APIError](err); ok {
		return api.Error()
	}
	return err.Error()
}
