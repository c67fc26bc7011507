package consumer

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// LaneStatus says whether a lane can take work.
type LaneStatus struct {
	Lane  string
	Ready bool
	Since time.Time // when Ready or Why last changed
	// Why says in words an operator can act on what keeps the lane from taking
	// work. It is also set, while Ready, when an operator paused the consumer, when
	// handlers do not return in time, and when long waits cannot be parked.
	Why      string
	InFlight int // deliveries being handled
	// Hung is how many of them are with handlers that did not return when their time
	// was over. The messages were given up; each of these handlers keeps its slot
	// until it returns, and only the end of the process frees the slot of one that
	// never does.
	Hung int
}

// toleratedFaults is how many pulls in a row may fail without the lane being
// called blocked once it is bound again: a change of leader ends one pull, and
// readiness should not flap for it. A refused permission ends every pull while
// binding works, and must not look ready in between.
const toleratedFaults = 1

// troubleLife is how long a trouble with what was parked counts that is not met
// again. It comes back every half a minute or so.
const troubleLife = 3 * time.Minute

// trouble is something that is wrong, none when why is empty.
type trouble struct {
	why   string
	since time.Time
	met   time.Time // for the last time
}

// set reports whether the trouble began or ended.
func (t *trouble) set(why string) bool {
	was := t.why != ""
	t.why, t.met = why, time.Now()
	if was == (why != "") {
		return false
	}
	t.since = time.Now()
	return true
}

// status is what a LaneStatus is made of.
type status struct {
	slots int

	mu         sync.Mutex
	now        LaneStatus // as far as the consumer goes
	pullFaults int        // failed pulls since the last good one
	hung       int
	hungSince  time.Time
	// unstored: the last dead letter could not be stored. The messages come back,
	// and each holds a slot while it is tried.
	unstored trouble
	unread   map[string]*trouble // what was parked came due and cannot be read, by stream or lane
	closed   trouble             // the gate is closed
	unparked trouble             // long waits stay with the consumer, which bears some of them
}

func newStatus(lane string, slots int, why string) *status {
	return &status{slots: slots, unread: map[string]*trouble{}, now: LaneStatus{Lane: lane, Since: time.Now(), Why: why}}
}

func (s *status) get() LaneStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now
	now.Hung = s.hung
	if !now.Ready {
		return now
	}
	stuck := trouble{since: s.hungSince}
	if s.hung >= s.slots {
		stuck.why = fmt.Sprintf("every slot (%d) is held by a handler that does not return: the process must be restarted", s.slots)
	}
	troubles := []trouble{s.unstored, stuck, s.closed}
	for _, t := range s.unread {
		if time.Since(t.met) < troubleLife {
			troubles = append(troubles, *t)
		}
	}
	for _, t := range troubles {
		if t.why != "" {
			now.Ready, now.Since, now.Why = false, t.since, t.why
			return now
		}
	}
	notes := []string{}
	if now.Why != "" {
		notes = append(notes, now.Why)
	}
	if s.hung > 0 {
		now.Since = s.hungSince
		notes = append(notes, fmt.Sprintf("%d of %d slots are held by handlers that do not return", s.hung, s.slots))
	}
	if s.unparked.why != "" {
		now.Since = s.unparked.since
		notes = append(notes, s.unparked.why)
	}
	now.Why = strings.Join(notes, "; ")
	return now
}

// gated notes why the gate is closed, if it is, and reports whether it opened or
// closed.
func (s *status) gated(why string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed.set(why)
}

// buried notes whether a dead letter was stored.
func (s *status) buried(err error) {
	s.note(&s.unstored, "dead letters cannot be stored: ", err)
}

// read notes whether what was parked could be taken back, as far as a stream or a
// lane goes.
func (s *status) read(from string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.unread, from)
		return
	}
	if s.unread[from] == nil {
		s.unread[from] = &trouble{}
	}
	s.unread[from].set("what was parked cannot be taken back: " + oneLine(err.Error()))
}

// parked notes whether a delivery could be parked.
func (s *status) parked(err error) {
	s.note(&s.unparked, "long waits stay with the consumer, they cannot be parked: ", err)
}

func (s *status) note(t *trouble, what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		t.set("")
		return
	}
	t.set(what + oneLine(err.Error()))
}

// hang notes that a handler did not return in time (1), or that it has after all (-1).
func (s *status) hang(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hung += n
	s.hungSince = time.Now()
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

// state is the lane's status at this moment, but for its work in flight.
func (l *lane) state() LaneStatus {
	l.gated()
	return l.status.get()
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
	l.log.InfoContext(ctx, "lane takes work", "stream", l.Stream, "consumer", l.Durable, "note", why)
}

func (l *lane) blocked(ctx context.Context, err error, pulling bool) {
	why := l.explain(err)
	if l.status.blocked(why, pulling) {
		l.log.WarnContext(ctx, "lane cannot take work", "stream", l.Stream, "consumer", l.Durable, "why", why, "error", err)
	}
}

// stopped is the end of the intake; the drain has a log of its own.
func (l *lane) stopped() { l.status.blocked("shutting down", false) }
