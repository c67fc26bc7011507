package flow

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/internal/waiting"
)

// permits lets so many callers a second pass, evenly, without a burst; among
// those who wait, the most urgent first. The rate is that of all replicas, of which
// this one takes its share. Safe for concurrent use.
type permits struct {
	rate     float64
	replicas func() int // nil: one

	mu    sync.Mutex
	given time.Time // when the last one was
	queue waiting.Line[*waiter]
	armed bool // a timer will serve the queue
}

func newPermits(rate float64, replicas func() int) *permits {
	return &permits{rate: rate, replicas: replicas}
}

// every is the time between two. It is looked up at each use: replicas come and go.
func (p *permits) every() time.Duration {
	sharers := 1
	if p.replicas != nil {
		sharers = max(1, p.replicas())
	}
	return time.Duration(float64(time.Second) * float64(sharers) / p.rate)
}

// errCrowded: so many more urgent ones wait that this one's turn is not soon.
var errCrowded = errors.New("flow: more urgent rotations are waiting")

// take waits for a permit. urgency is when it is too late: the earliest goes
// first. A caller with patience (not negative) who would wait longer is sent
// away with errCrowded, at once where that is plain; otherwise ctx ends the wait.
func (p *permits) take(ctx context.Context, urgency time.Time, patience time.Duration) error {
	p.mu.Lock()
	if patience >= 0 && p.wait(urgency) > patience {
		p.mu.Unlock()
		return errCrowded
	}
	w := &waiter{urgency: urgency, ready: make(chan struct{})}
	place := p.queue.Add(w)
	p.serve()
	p.mu.Unlock()

	var late <-chan time.Time
	if patience >= 0 {
		t := time.NewTimer(patience)
		defer t.Stop()
		late = t.C
	}
	var err error
	select {
	case <-w.ready:
		return nil
	case <-late:
		err = errCrowded
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.queue.Remove(place) {
		return nil // its turn came in the same moment
	}
	return err
}

// wait is how long somebody of that urgency would wait if nobody came after
// him. For holders of mu.
func (p *permits) wait(urgency time.Time) time.Duration {
	ahead := 0
	for w := range p.queue.All() {
		if !w.urgency.After(urgency) {
			ahead++
		}
	}
	every := p.every()
	return max(0, time.Until(p.given.Add(every))) + time.Duration(ahead)*every
}

// serve gives what may be given now and arranges for the rest. For holders of mu.
func (p *permits) serve() {
	for p.queue.Len() > 0 {
		now := time.Now()
		if wait := p.given.Add(p.every()).Sub(now); wait > 0 {
			if !p.armed {
				p.armed = true
				time.AfterFunc(wait, p.tick)
			}
			return
		}
		w, _ := p.queue.Next()
		close(w.ready)
		p.given = now
	}
}

func (p *permits) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	p.serve()
}

// waiter is one caller who waits for a permit.
type waiter struct {
	urgency time.Time
	ready   chan struct{}
}

// Before is of waiting.Urgent.
func (w *waiter) Before(other *waiter) bool { return w.urgency.Before(other.urgency) }
