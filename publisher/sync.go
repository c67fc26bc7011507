package publisher

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// RequestSync publishes a transactions.sync.requested with that id and time.
// Asking again under the same id within the duplicate window asks once.
func (p *Publisher) RequestSync(ctx context.Context, id string, t time.Time, c events.Cause, r events.SyncRequested) error {
	body, err := events.EncodeInput(events.TypeSyncRequested, id, t, c, r)
	if err != nil {
		return fmt.Errorf("publisher: encoding a sync request: %w", err)
	}
	header := inputHeader(id, r.ConnectionID)
	if c.TraceParent != "" {
		header[events.HeaderTraceParent] = []string{c.TraceParent}
	}
	if c.TraceState != "" {
		header[events.HeaderTraceState] = []string{c.TraceState}
	}
	_, err = p.send(ctx, events.TypeSyncRequested, p.cfg.RequestsStream, &nats.Msg{
		Subject: p.cfg.Codec.Subject(events.TypeSyncRequested), Header: header, Data: body,
	})
	return err
}

// ScheduleSync has the broker ask for a sync of a connection at a time, to the
// second and never before. A connection has one such timer: a second call
// replaces the first. A time that has passed is due at once, also when it passed
// while everything was down. The event that becomes due is a sync request on
// finx.due.sync.<connection id>; its id is the same for the same connection and time.
func (p *Publisher) ScheduleSync(ctx context.Context, connectionID string, at time.Time, r events.SyncRequested) error {
	// The broker reads whole seconds, and the client would round down.
	at = at.Add(time.Second - time.Nanosecond).Truncate(time.Second).UTC()
	id := events.UUIDv5("timer", connectionID, at.Format(time.RFC3339))
	body, err := events.EncodeInput(events.TypeSyncRequested, id, at, events.Cause{}, r)
	if err != nil {
		return fmt.Errorf("publisher: encoding a sync timer: %w", err)
	}
	// The id for the broker is another one each call. Setting a timer back to
	// where it stood an hour ago is no duplicate; only a repeated attempt is.
	header := inputHeader(events.NewUUID(), connectionID)
	header[jetstream.ScheduleHeader] = []string{"@at " + at.Format(time.RFC3339)}
	header[jetstream.ScheduleTargetHeader] = []string{p.subject(events.SubjectDueSync, connectionID)}
	// What came due stays in the stream after it was handled. Nothing else would
	// ever clear it away: the timers stream has no age of its own, as that would
	// drop timers set further ahead.
	header[jetstream.ScheduleTTLHeader] = []string{p.cfg.DueTTL.String()}
	_, err = p.send(ctx, typeTimer, p.cfg.TimersStream, &nats.Msg{
		Subject: p.subject(events.SubjectTimerSync, connectionID), Header: header, Data: body,
	})
	return err
}

// CancelSchedule takes a connection's timer away and returns how many there
// were: one or none. Cancelling none is no error. A timer that came due already
// is a sync request like any other and stays.
func (p *Publisher) CancelSchedule(ctx context.Context, connectionID string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.AttemptTimeout)
	defer cancel()
	subject := p.subject(events.SubjectTimerSync, connectionID)
	fail := func(err error) (int, error) {
		return 0, fault.Transient(fault.NATS, fmt.Errorf("publisher: cancelling the timer in stream %s: %w", p.cfg.TimersStream, err))
	}
	s, err := p.cfg.JS.Stream(ctx, p.cfg.TimersStream)
	if err != nil {
		return fail(err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return fail(err)
	}
	n := int(info.State.Subjects[subject]) //nolint:gosec // a subject holds one timer
	if n == 0 {
		return 0, nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
		return fail(err)
	}
	return n, nil
}

func (p *Publisher) subject(base, connectionID string) string {
	return p.cfg.Codec.Subject(base) + "." + connectionID
}

// inputHeader names the connection, so that erasure finds the message.
func inputHeader(msgID, connectionID string) nats.Header {
	return nats.Header{
		events.HeaderMsgID:        {msgID},
		events.HeaderContentType:  {events.ContentTypeStructured},
		events.HeaderConnectionID: {connectionID},
	}
}
