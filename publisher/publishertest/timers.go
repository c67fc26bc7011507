package publishertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// DueFunc takes what came due: the subject and the event on it.
type DueFunc func(subject string, e events.Envelope)

// Timers are those of publisher.Publisher without a broker, by the clock of the
// caller: under testing/synctest they come due in fake time. They die with the
// process. They are safe for concurrent use.
type Timers struct {
	mu    sync.Mutex
	due   DueFunc
	early []cameDue // before there was a due
	set   map[string]*waiting
}

// waiting is a timer by the subject it waits on. Its address tells it from the
// one that replaced it.
type waiting struct {
	events.Timer

	clock *time.Timer
}

type cameDue struct {
	subject string
	event   events.Envelope
}

// NewTimers returns timers of which none is set.
func NewTimers() *Timers { return &Timers{set: map[string]*waiting{}} }

// OnDue has due called for all that comes due, each call on a goroutine of its own
// and never within a call of a method. What came due before OnDue has waited for
// it, as it does in a stream, and is handed over in order on one goroutine.
func (s *Timers) OnDue(due DueFunc) {
	s.mu.Lock()
	early := s.early
	s.due, s.early = due, nil
	s.mu.Unlock()
	if len(early) == 0 {
		return
	}
	go func() {
		for _, d := range early {
			due(d.subject, d.event)
		}
	}()
}

// ScheduleSync is that of publisher.Publisher.
func (s *Timers) ScheduleSync(ctx context.Context, connectionID string, at time.Time, r events.SyncRequested) error {
	t, err := events.NewSyncTimer(connectionID, at, r)
	if err != nil {
		return fmt.Errorf("publishertest: encoding a sync timer: %w", err)
	}
	return s.schedule(ctx, t)
}

// ScheduleKeepAlive is that of publisher.Publisher.
func (s *Timers) ScheduleKeepAlive(ctx context.Context, connectionID string, at time.Time) error {
	t, err := events.NewKeepAliveTimer(connectionID, at)
	if err != nil {
		return fmt.Errorf("publishertest: encoding a keep-alive timer: %w", err)
	}
	return s.schedule(ctx, t)
}

func (s *Timers) schedule(ctx context.Context, t events.Timer) error {
	if err := ctx.Err(); err != nil {
		return fault.Transient(fault.NATS, fmt.Errorf("publishertest: setting a timer: %w", err))
	}
	// What cannot be read when it is due is found out now.
	e, err := events.Codec{}.Parse(events.Message{
		Subject: t.DueOn, Header: map[string][]string{events.HeaderContentType: {events.ContentTypeStructured}}, Data: t.Body,
	})
	if err != nil {
		return fmt.Errorf("publishertest: reading a timer: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.set[t.WaitsOn]; old != nil {
		old.clock.Stop()
	}
	w := &waiting{Timer: t}
	s.set[t.WaitsOn] = w
	w.clock = time.AfterFunc(time.Until(t.At), func() { s.fire(w, e) })
	return nil
}

// fire hands over what w has become, unless it was replaced or cancelled when its
// clock had gone off already.
func (s *Timers) fire(w *waiting, e events.Envelope) {
	s.mu.Lock()
	if s.set[w.WaitsOn] != w {
		s.mu.Unlock()
		return
	}
	delete(s.set, w.WaitsOn)
	due := s.due
	if due == nil {
		s.early = append(s.early, cameDue{w.DueOn, e})
	}
	s.mu.Unlock()
	if due != nil {
		due(w.DueOn, e)
	}
}

// CancelSchedule is that of publisher.Publisher.
func (s *Timers) CancelSchedule(ctx context.Context, connectionID string) (int, error) {
	if !events.IsUUID(connectionID) {
		return 0, fault.Permanent(fault.Malformed, errors.New("publishertest: cancelling timers: the connection id is no UUID"))
	}
	if err := ctx.Err(); err != nil {
		return 0, fault.Transient(fault.NATS, fmt.Errorf("publishertest: cancelling timers: %w", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.set)
	maps.DeleteFunc(s.set, func(_ string, w *waiting) bool {
		if w.ConnectionID == connectionID {
			w.clock.Stop()
			return true
		}
		return false
	})
	return n - len(s.set), nil
}

// Waiting returns the timers that are set: the subject each waits on, which ends
// with the connection id, and when it is due.
func (s *Timers) Waiting() map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]time.Time, len(s.set))
	for subject, w := range s.set {
		all[subject] = w.At
	}
	return all
}
