package guard

import (
	"time"

	"github.com/finx-connector/finx-connector/internal/waiting"
)

// allowance is how long a call of that priority may well wait: among those that
// wait, the one whose allowance is used up first goes first, so that a page is
// overtaken by what is more urgent, but not for ever. Callbacks have none: they
// overtake everybody.
func allowance(p Priority) time.Duration {
	switch p {
	case Callback:
		return 0
	case Link:
		return 2 * time.Second
	case Token:
		return 5 * time.Second
	case Accounts:
		return 30 * time.Second
	case Page:
		return time.Minute
	}
	return time.Minute
}

// patience is how long a call that spends something gives way to others on
// probation, where the first to go may be lost: time for the other lanes to come.
const patience = 3 * time.Second

// spends reports whether what a call of that priority carries may be gone when its
// answer is lost: a code, a refresh token.
func spends(p Priority) bool { return p == Callback || p == Token }

// waiter is one call that waits for its turn. Whoever takes it out of the queue
// sets turn or err and closes ready.
type waiter struct {
	first  bool // before everybody that is not
	by     time.Time
	order  uint64 // among equals, who came first
	spends bool
	came   time.Time
	ready  chan struct{}
	place  *waiting.Place[*waiter]

	turn call
	err  error
}

// Before is of waiting.Urgent.
func (w *waiter) Before(other *waiter) bool {
	switch {
	case w.first != other.first:
		return w.first
	case !w.by.Equal(other.by):
		return w.by.Before(other.by)
	}
	return w.order < other.order
}

// queue holds the waiters, the most urgent first. No lock: its owner holds one.
type queue struct {
	line waiting.Line[*waiter]
	came uint64
}

func (q *queue) len() int { return q.line.Len() }

func (q *queue) add(now time.Time, p Priority) *waiter {
	q.came++
	w := &waiter{first: p == Callback, by: now.Add(allowance(p)), order: q.came, spends: spends(p), came: now, ready: make(chan struct{})}
	w.place = q.line.Add(w)
	return w
}

// trial returns who finds out on probation whether calls go well: the most urgent of
// those that spend nothing, or, where there are none, who has waited longest, and
// until when that one has patience. nil when nobody waits.
func (q *queue) trial() (w *waiter, from time.Time) {
	var harmless, patient *waiter
	for w := range q.line.All() {
		switch {
		case w.spends:
			if patient == nil || w.order < patient.order {
				patient = w
			}
		case harmless == nil || w.Before(harmless):
			harmless = w
		}
	}
	if harmless != nil || patient == nil {
		return harmless, time.Time{}
	}
	return patient, patient.came.Add(patience)
}

// next takes the most urgent out, nil when nobody waits.
func (q *queue) next() *waiter {
	w, _ := q.line.Next()
	return w
}

// remove takes w out; false when somebody else did.
func (q *queue) remove(w *waiter) bool { return q.line.Remove(w.place) }
