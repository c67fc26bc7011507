package consumer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// Suspects counts, over all processes, how often the handling of a message was
// begun and did not return. It must be safe for concurrent use.
type Suspects interface {
	// Begun notes that a message is about to be handled and returns how often that
	// was noted without Returned, this time included.
	Begun(ctx context.Context, stream string, sequence uint64) (times int, err error)
	// Returned notes that the process has lived through it.
	Returned(ctx context.Context, stream string, sequence uint64) error
}

const (
	// suspectFrom is the delivery from which a message that this process has not
	// handled yet is suspected. Deliveries that this process gave back do not count;
	// those that others gave back cost the innocent a note.
	suspectFrom = 4
	// maxDeaths is how many processes may end while they handle a message.
	maxDeaths = 10
	// lastDeaths is from how many on nothing but the dead letter is tried: the last
	// words may be what ends the process.
	lastDeaths = maxDeaths + 3
	// suspectWithin bounds one note. Without it the message is handled all the same.
	suspectWithin = 2 * time.Second
	// doorPatience is how long a suspect waits for another that must be alone. Then
	// it goes back and leaves its slot to others.
	doorPatience = 2 * time.Second
	// suspectAgain is how long nothing is noted after a note could not be made: each
	// try may keep the door shut for suspectWithin.
	suspectAgain = 15 * time.Second
)

// suspicion is who of the suspected is being handled in this process.
//
// A first suspicion is noted, no more: after an outage or a restart it falls on
// many. Whoever was being handled, suspected, when a process ended is handled
// without any other suspect beside it from then on, and without any other being
// noted, so that the end of the process is put down to no bystander.
type suspicion struct {
	cfg  *Config
	door chan struct{} // holds an element while somebody enters, or is alone
	away standstill    // why no note could be made a moment ago

	mu     sync.Mutex
	inside int
	empty  chan struct{} // closed when nobody is inside any more
}

func newSuspicion(cfg *Config) *suspicion {
	return &suspicion{cfg: cfg, door: make(chan struct{}, 1)}
}

// enter notes that a suspected delivery is about to be handled, and waits until it
// may be. The error says that it may not: now (errBusy) or ever. leave is never nil
// and must be called: with true when the process lived through the handling.
//
// A note that cannot be made holds up nobody.
func (s *suspicion) enter(ctx context.Context, w *work) (leave func(lived bool), err error) {
	if s.cfg.Suspects == nil || w.note.attempt(w.delivered) < suspectFrom || w.note.returned || s.away.get(time.Now()) != nil {
		return func(bool) {}, nil
	}
	stop := w.keepAlive(doorPatience + suspectWithin + w.lane.Deadline)
	defer stop()
	if !s.pass(ctx) {
		return func(bool) {}, errBusy
	}
	times := s.begun(ctx, w)
	lived := func(lived bool) {
		if lived {
			s.returned(ctx, w)
		}
	}
	switch {
	case times > maxDeaths:
		<-s.door
		w.speechless = times > lastDeaths
		return lived, fault.Permanent(fault.Exhausted, fmt.Errorf("consumer: handling a delivery: the process ended %d times while handling it", times-1))
	case times > 1:
		s.clear(ctx, w.lane.Deadline)
		return func(yes bool) { <-s.door; lived(yes) }, nil
	}
	s.come()
	<-s.door
	return func(yes bool) { s.gone(); lived(yes) }, nil
}

// pass waits for the door.
func (s *suspicion) pass(ctx context.Context) bool {
	patience := time.NewTimer(doorPatience)
	defer patience.Stop()
	select {
	case s.door <- struct{}{}:
		return true
	case <-ctx.Done():
	case <-patience.C:
	}
	return false
}

func (s *suspicion) come() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inside++; s.inside == 1 {
		s.empty = make(chan struct{})
	}
}

func (s *suspicion) gone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inside--; s.inside == 0 {
		close(s.empty)
	}
}

// clear waits until nobody is inside, for no longer than limit. Nobody can enter
// meanwhile, because the caller holds the door.
func (s *suspicion) clear(ctx context.Context, limit time.Duration) {
	s.mu.Lock()
	inside, empty := s.inside, s.empty
	s.mu.Unlock()
	if inside == 0 {
		return
	}
	patience := time.NewTimer(limit)
	defer patience.Stop()
	select {
	case <-empty:
	case <-ctx.Done():
	case <-patience.C:
	}
}

// begun returns 0 when the note could not be made.
func (s *suspicion) begun(ctx context.Context, w *work) int {
	if s.away.get(time.Now()) != nil {
		return 0 // as somebody found out while this one waited for the door
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), suspectWithin)
	defer cancel()
	times, err := s.cfg.Suspects.Begun(ctx, w.d.Stream, w.d.Sequence)
	if err != nil {
		s.away.set(err, time.Now().Add(suspectAgain))
		w.lane.log.WarnContext(ctx, "suspected delivery is handled without a note", "stream", w.d.Stream, "sequence", w.d.Sequence, "error", err)
		return 0
	}
	return times
}

func (s *suspicion) returned(ctx context.Context, w *work) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), suspectWithin)
	defer cancel()
	if err := s.cfg.Suspects.Returned(ctx, w.d.Stream, w.d.Sequence); err != nil {
		w.lane.log.WarnContext(ctx, "note on a suspected delivery stays until it expires", "stream", w.d.Stream, "sequence", w.d.Sequence, "error", err)
	}
}
