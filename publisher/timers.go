package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// ScheduleSync has the broker ask for a sync of a connection at a time, to the
// second and never before. A connection has one such timer: a second call
// replaces the first. A time that has passed is due at once, also when it passed
// while everything was down. The event that becomes due is a sync request on
// finx.due.sync.<connection id>; its id is the same for the same connection and time.
//
// Timers that came due while the broker was down fire together when it is back, in
// the order in which they were set and not in that of their times: with many of
// them, the most urgent may be the last.
func (p *Publisher) ScheduleSync(ctx context.Context, connectionID string, at time.Time, r events.SyncRequested) error {
	t, err := events.NewSyncTimer(connectionID, at, r)
	if err != nil {
		return fmt.Errorf("publisher: encoding a sync timer: %w", err)
	}
	return p.schedule(ctx, t)
}

// ScheduleKeepAlive has the broker say at a time that a connection's refresh token
// is to be rotated, on finx.due.keepalive.<connection id>. It is a timer of its own
// beside that of ScheduleSync, under the same rules.
func (p *Publisher) ScheduleKeepAlive(ctx context.Context, connectionID string, at time.Time) error {
	t, err := events.NewKeepAliveTimer(connectionID, at)
	if err != nil {
		return fmt.Errorf("publisher: encoding a keep-alive timer: %w", err)
	}
	return p.schedule(ctx, t)
}

func (p *Publisher) schedule(ctx context.Context, t events.Timer) error {
	// The id for the broker is another one each call. Setting a timer back to
	// where it stood an hour ago is no duplicate; only a repeated attempt is.
	header := inputHeader(events.NewUUID(), t.ConnectionID)
	header[jetstream.ScheduleHeader] = []string{"@at " + t.At.Format(time.RFC3339)}
	header[jetstream.ScheduleTargetHeader] = []string{p.cfg.Codec.Subject(t.DueOn)}
	// What came due stays in the stream after it was handled. Nothing else would
	// ever clear it away: the timers stream has no age of its own, as that would
	// drop timers set further ahead.
	header[jetstream.ScheduleTTLHeader] = []string{p.cfg.DueTTL.String()}
	// What comes due in hours begins a trace of its own, with a link to this one.
	if on := telemetry.Carry(ctx, telemetry.Remote{}); on.TraceParent != "" {
		header[events.HeaderTraceParent] = []string{on.TraceParent}
	}
	// The next one that comes due for this connection takes the place of the last:
	// four a day kept for a month would be 120 messages a connection, by far the most
	// that the broker holds of it. None is lost by it: the next timer is set by
	// whoever handles this one.
	header[jetstream.ScheduleRollupHeader] = []string{jetstream.MsgRollupSubject}
	_, err := p.send(ctx, typeTimer, p.cfg.TimersStream, &nats.Msg{
		Subject: p.cfg.Codec.Subject(t.WaitsOn), Header: header, Data: t.Body,
	})
	return err
}

// CancelSchedule takes the timers of a connection away, of whatever kind, and
// returns how many there were: none up to one a kind. Cancelling none is no error.
// A timer that came due already is an event like any other and stays.
func (p *Publisher) CancelSchedule(ctx context.Context, connectionID string) (int, error) {
	if !events.IsUUID(connectionID) { // a wildcard in its place would take away everybody's
		return 0, fault.Permanent(fault.Malformed, errors.New("publisher: cancelling timers: the connection id is no UUID"))
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.AttemptTimeout)
	defer cancel()
	// One purge for all kinds, so that none is left when the next call would fail.
	subject := p.cfg.Codec.Subject(events.SubjectTimer + ".*." + connectionID)
	fail := func(err error) (int, error) {
		return 0, fault.Transient(fault.NATS, fmt.Errorf("publisher: cancelling the timers in stream %s: %w", p.cfg.TimersStream, err))
	}
	s, err := p.cfg.JS.Stream(ctx, p.cfg.TimersStream)
	if err != nil {
		return fail(err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return fail(err)
	}
	n := 0
	for _, held := range info.State.Subjects {
		n += int(held) //nolint:gosec // a subject holds one timer
	}
	if n == 0 {
		return 0, nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
		return fail(err)
	}
	return n, nil
}
