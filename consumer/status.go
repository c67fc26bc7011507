package consumer

import (
	"context"
	"sync"
	"time"
)

// LaneStatus says whether a lane can take work.
type LaneStatus struct {
	Lane  string
	Ready bool
	Since time.Time // when Ready or Why last changed
	// Why says in words an operator can act on what keeps the lane from taking
	// work. It is also set, while Ready, when an operator paused the consumer.
	Why      string
	InFlight int // deliveries being handled
}

// toleratedFaults is how many pulls in a row may fail without the lane being
// called blocked once it is bound again: a change of leader ends one pull, and
// readiness should not flap for it. A refused permission ends every pull while
// binding works, and must not look ready in between.
const toleratedFaults = 1

// status is the current LaneStatus of a lane.
type status struct {
	mu         sync.Mutex
	now        LaneStatus
	pullFaults int // failed pulls since the last good one
	// unstored says why the last dead letter could not be stored, empty when it
	// was. The messages come back, and each holds a slot while it is tried.
	unstored      string
	unstoredSince time.Time
}

func newStatus(lane, why string) *status {
	return &status{now: LaneStatus{Lane: lane, Since: time.Now(), Why: why}}
}

func (s *status) get() LaneStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now
	if s.unstored != "" && now.Ready {
		now.Ready, now.Since, now.Why = false, s.unstoredSince, "dead letters cannot be stored: "+s.unstored
	}
	return now
}

// buried notes whether a dead letter was stored.
func (s *status) buried(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.unstored = ""
	case s.unstored == "":
		s.unstored, s.unstoredSince = oneLine(err.Error()), time.Now()
	}
}

// set reports whether something changed.
func (s *status) set(ready bool, why string) bool {
	if s.now.Ready == ready && s.now.Why == why {
		return false
	}
	s.now.Ready, s.now.Why, s.now.Since = ready, why, time.Now()
	return true
}

// bound notes that the consumer was found.
func (s *status) bound(paused string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pullFaults > toleratedFaults {
		return false
	}
	return s.set(true, paused)
}

// pulled notes that a pull ended as it should.
func (s *status) pulled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pullFaults = 0
	if s.now.Ready {
		return false
	}
	return s.set(true, "")
}

// blocked notes why no work can be taken.
func (s *status) blocked(why string, pulling bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pulling {
		s.pullFaults++
	}
	return s.set(false, why)
}

func (l *lane) bound(ctx context.Context, b *binding) {
	why := ""
	if b.paused != "" {
		why = "paused by an operator until " + b.paused
	}
	if l.status.bound(why) {
		l.ready(ctx, why)
	}
}

func (l *lane) pulled(ctx context.Context) {
	if l.status.pulled() {
		l.ready(ctx, "")
	}
}

func (l *lane) ready(ctx context.Context, why string) {
	l.cfg.Metrics.ready(l.Name, true)
	l.log.InfoContext(ctx, "lane takes work", "stream", l.Stream, "consumer", l.Durable, "note", why)
}

func (l *lane) blocked(ctx context.Context, err error, pulling bool) {
	why := l.explain(err)
	if l.status.blocked(why, pulling) {
		l.cfg.Metrics.ready(l.Name, false)
		l.log.WarnContext(ctx, "lane cannot take work", "stream", l.Stream, "consumer", l.Durable, "why", why, "error", err)
	}
}

// stopped is the end of the intake; the drain has a log of its own.
func (l *lane) stopped() {
	l.status.blocked("shutting down", false)
	l.cfg.Metrics.ready(l.Name, false)
}
