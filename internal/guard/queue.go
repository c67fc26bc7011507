package guard

import (
	"container/heap"
	"time"
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
	index  int // in the queue, -1 = no longer in it

	turn call
	err  error
}

// queue holds the waiters, the most urgent on top. No lock: its owner holds one.
type queue struct {
	waiters waiters
	came    uint64
}

func (q *queue) len() int { return len(q.waiters) }

func (q *queue) add(now time.Time, p Priority) *waiter {
	q.came++
	w := &waiter{first: p == Callback, by: now.Add(allowance(p)), order: q.came, spends: spends(p), came: now, ready: make(chan struct{})}
	heap.Push(&q.waiters, w)
	return w
}

// trial returns who finds out on probation whether calls go well: the most urgent of
// those that spend nothing, or, where there are none, who has waited longest, and
// until when that one has patience. nil when nobody waits.
func (q *queue) trial() (w *waiter, from time.Time) {
	var harmless, patient *waiter
	for i, w := range q.waiters {
		switch {
		case w.spends:
			if patient == nil || w.order < patient.order {
				patient = w
			}
		case harmless == nil || q.waiters.Less(i, harmless.index):
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
	if len(q.waiters) == 0 {
		return nil
	}
	w, _ := heap.Pop(&q.waiters).(*waiter)
	return w
}

// remove takes w out; false when somebody else did.
func (q *queue) remove(w *waiter) bool {
	if w.index < 0 {
		return false
	}
	heap.Remove(&q.waiters, w.index)
	return true
}

// waiters is a heap with the most urgent on top.
type waiters []*waiter

// Len is of container/heap.
func (q *waiters) Len() int { return len(*q) }

// Less is of container/heap.
func (q *waiters) Less(i, j int) bool {
	a, b := (*q)[i], (*q)[j]
	switch {
	case a.first != b.first:
		return a.first
	case !a.by.Equal(b.by):
		return a.by.Before(b.by)
	}
	return a.order < b.order
}

// Swap is of container/heap.
func (q *waiters) Swap(i, j int) {
	w := *q
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

// Push is of container/heap.
func (q *waiters) Push(x any) {
	if w, ok := x.(*waiter); ok {
		w.index = len(*q)
		*q = append(*q, w)
	}
}

// Pop is of container/heap.
func (q *waiters) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	w.index = -1
	return w
}
