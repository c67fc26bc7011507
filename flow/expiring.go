package flow

import (
	"context"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// warn publishes connection.expiring when less than Notice is left of a refresh
// token that could not be replaced. It is said once for each token, and not
// after its end: then finX itself will say what becomes of the connection.
//
// A token that finX answers for and keeps is warned of too. finX documents 90
// days at most and a replacement at every use, so one that is not replaced may
// well end on its day, and a warning too many costs less than a bank access.
func (f *Flow) warn(ctx context.Context, cause events.Cause, id string, ends time.Time) error {
	if time.Until(ends) > f.Background.Notice {
		return nil
	}
	rec, rev, err := f.Records.Get(ctx, id)
	if err != nil {
		return fmt.Errorf("flow: reading the connection again: %w", err)
	}
	if rec.State != connection.Established || time.Until(ends) <= 0 || rec.ExpiringTold.Equal(ends) {
		return nil
	}
	link, err := f.linkIfAny(ctx, rec, rev)
	if err != nil {
		return err
	}
	o := events.NewConnectionExpiring(cause, events.ConnectionExpiring{
		ConnectionID: rec.ID, UserID: rec.UserID, What: events.WhatRefreshToken,
		ExpiresAt: ends, DaysLeft: int(time.Until(ends) / (24 * time.Hour)), Location: link,
	})
	// One token is one warning, whichever timer found it.
	o.ID = events.UUIDv5(o.Type, rec.ID, rec.EstablishedBy, ends.UTC().Format(time.RFC3339Nano))
	if err := f.Bus.Publish(ctx, o); err != nil {
		return fmt.Errorf("flow: announcing the end of the refresh token: %w", err)
	}
	return f.edit(ctx, rec, rev, func(r connection.Record) (connection.Record, error) {
		r.ExpiringTold = ends.UTC()
		return r, nil
	})
}

// linkIfAny is renewalLink for news that cannot wait: whoever warns that finX
// is away must not need it.
func (f *Flow) linkIfAny(ctx context.Context, rec connection.Record, rev uint64) (secret.Text, error) {
	link, err := f.renewalLink(ctx, rec, rev)
	if fault.DependencyOf(err) == fault.FinX {
		f.Logger.WarnContext(ctx, "warning without a renewal link", "connection_id", rec.ID, "error", err)
		return secret.Text{}, nil
	}
	return link, err
}
