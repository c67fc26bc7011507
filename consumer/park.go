package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/retry"
)

const (
	// parkBudget is how long one schedule is tried to be stored: longer than a leader
	// election.
	parkBudget = 15 * time.Second
	// parkAgain is how long nothing is tried to be parked after it could not be: each
	// try may hold a slot for parkBudget.
	parkAgain = 15 * time.Second
	// parkTTL is how long what came due stays in the timers stream, handled or not.
	// Nothing else would ever clear it away: the stream has no age of its own.
	parkTTL = 30 * 24 * time.Hour
)

// parkAfter is the longest wait that is not parked, 0 when nothing is.
func (c *Config) parkAfter() time.Duration {
	if c.TimersStream == "" {
		return 0
	}
	return c.ParkAfter
}

// park stores the schedule that brings the delivery back after the wait of a, and
// returns nil only when the server has acknowledged it. It stores none that could
// not be taken back: without the right to read the message again the delivery stays
// with its consumer. Heartbeats go on meanwhile.
func (w *work) park(ctx context.Context, a Action, kept keepable, now time.Time) error {
	l := w.lane
	stop := w.keepAlive(parkBudget + readWithin + storeWithin)
	defer stop()
	ctx, cancel := outlive(ctx, settleGrace)
	defer cancel()
	if err := l.unparkable.get(time.Now()); err != nil {
		return err
	}
	if err := l.reader.check(ctx, w.d.Stream); err != nil {
		return err
	}
	m, err := w.schedule(a, kept, now)
	if err != nil {
		return err
	}
	policy := retry.Policy{Initial: 100 * time.Millisecond, Max: 2 * time.Second, Budget: parkBudget, Jitter: 0.2}
	err = retry.Do(ctx, policy, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWithin)
		defer cancel()
		if _, err := l.cfg.JS.PublishMsg(ctx, m, jetstream.WithExpectStream(l.cfg.TimersStream)); err != nil {
			return fault.Transient(fault.NATS, err)
		}
		return nil
	}, nil)
	if err != nil {
		if refused := refusedSubject(l.cfg.JS.Conn(), m.Subject); refused != "" {
			err = fmt.Errorf("the NATS user lacks a permission: %s: %w", refused, err)
		}
		err = fmt.Errorf("consumer: storing a schedule in stream %s: %w", l.cfg.TimersStream, err)
		l.unparkable.set(err, time.Now().Add(parkAgain))
		return err
	}
	l.cfg.Metrics.parked(l.Name)
	return nil
}

// schedule is the message that the broker moves to the due subject in time. The
// broker keeps whole seconds; an earlier one than asked for would be too early.
func (w *work) schedule(a Action, kept keepable, now time.Time) (*nats.Msg, error) {
	l := w.lane
	r := reference{
		V: referenceVersion, Stream: w.d.Stream, Sequence: w.d.Sequence, StoredAt: w.d.Time.UTC(), Subject: kept.message.Subject,
		Lane: l.Name, Durable: l.Durable,
		Attempts: w.d.Attempt - 1, Failures: w.note.failures, Tries: w.note.tries,
		FirstFailure: w.note.first.UTC(), ParkedAt: now.UTC(),
	}
	if a.Counts {
		r.Attempts++
		r.Failures++
	}
	if a.Outcome == OutcomeRetry || a.Outcome == OutcomeNotStored {
		r.Tries++
	}
	if r.FirstFailure.IsZero() && a.Outcome != OutcomeBusy {
		r.FirstFailure = now.UTC()
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("consumer: writing a parked reference: %w", err)
	}
	at := now.Add(a.Delay + time.Second - time.Nanosecond).Truncate(time.Second).UTC()
	m := &nats.Msg{Subject: r.waitsOn(l.cfg.Codec), Data: body, Header: nats.Header{
		// The id is another one each time: parking a message again is no duplicate.
		events.HeaderMsgID:             {events.NewUUID()},
		events.HeaderContentType:       {events.ContentTypeJSON},
		jetstream.ScheduleHeader:       {"@at " + at.Format(time.RFC3339)},
		jetstream.ScheduleTargetHeader: {r.dueOn(l.cfg.Codec)},
		jetstream.ScheduleTTLHeader:    {parkTTL.String()},
	}}
	if w.carry.TraceParent != "" { // for the next attempt to link to this one
		m.Header[events.HeaderTraceParent] = []string{w.carry.TraceParent}
	}
	return m, nil
}

// standstill is an error that counts for a while. It is safe for concurrent use.
type standstill struct {
	mu    sync.Mutex
	err   error
	until time.Time
}

func (s *standstill) set(err error, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.until = err, until
}

func (s *standstill) get(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.After(s.until) {
		return nil
	}
	return s.err
}
