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
func (f *Flow) warn(ctx context.Context, cause events.Cause, rec connection.Record, rev uint64, ends time.Time) error {
	if !f.Background.isNews(rec, ends) {
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

// isNews reports whether it is time to say when the refresh token ends.
func (b *Background) isNews(rec connection.Record, ends time.Time) bool {
	left := time.Until(ends)
	return rec.State == connection.Established && left > 0 && left <= b.Notice && !rec.ExpiringTold.Equal(ends)
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
