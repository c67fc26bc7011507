package custody_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// leases is the lock of the connection, as a lease that the broker counts.
type leases struct {
	off    bool // it keeps nobody out
	holder *lease
	all    []*lease // whose holders believe in them
}

// lease is renewed all the time while until is zero.
type lease struct {
	by     *process
	until  time.Time
	lost   bool
	cancel context.CancelCauseFunc
}

// underLock marks the context of what is done with the lock.
type underLock struct{}

// lock is custody's LockFunc.
func (p *process) lock(ctx context.Context, _ string) (context.Context, func(), error) {
	w := p.w
	r := p.do(ctx, &request{
		to: broker, what: "lock", limit: worldTimeout, writes: true,
		lost: fault.Ambiguous(fault.NATS, errAway),
		act: func() reply {
			if w.leases.holder != nil && !w.leases.off {
				return reply{err: fault.Transient("", connection.ErrLeaseHeld)}
			}
			w.leases.holder = &lease{by: p}
			return reply{lease: w.leases.holder}
		},
	})
	if r.err != nil {
		return nil, nil, r.err
	}
	held, cancel := context.WithCancelCause(context.WithValue(ctx, underLock{}, true))
	w.mu.Lock()
	r.lease.cancel = cancel
	w.leases.all = append(w.leases.all, r.lease)
	w.mu.Unlock()
	var once sync.Once
	return held, func() {
		once.Do(func() {
			cancel(nil)
			w.release(r.lease)
		})
	}, nil
}

// release asks the broker to free the lock; nobody waits for that.
func (w *world) release(l *lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leases.forget(l)
	if l.by.dead || l.lost {
		return
	}
	l.until = time.Now().Add(worldLease)
	w.serial++
	w.queue = append(w.queue, &request{
		by: l.by, serial: w.serial, to: broker, what: "release", writes: true, until: time.Now().Add(worldTimeout),
		act: func() reply {
			if w.leases.holder == l {
				w.leases.holder = nil
			}
			return reply{}
		},
	})
}

func (s *leases) forget(l *lease) {
	s.all = slices.DeleteFunc(s.all, func(one *lease) bool { return one == l })
}

// stall ends the renewals of a process that crashed, stands still or does not
// reach the broker.
func (s *leases) stall(p *process) {
	if l := s.holder; l != nil && l.by == p && l.until.IsZero() {
		l.until = time.Now().Add(worldLease)
	}
}

// settle lets leases run out, and returns those whose holders are to be told.
func (s *leases) settle(now time.Time) (lost []*lease) {
	l := s.holder
	switch {
	case l == nil:
	case l.until.IsZero() && l.by.dead:
		l.until = now.Add(worldLease) // it was given to a process that had died
	case !l.until.IsZero() && !now.Before(l.until):
		s.holder = nil
	case !l.until.IsZero() && s.believed(l) && !l.by.dead && !l.by.paused && !l.by.cut[broker]:
		l.until = time.Time{} // renewed in time
	}
	for _, l := range s.all {
		if l != s.holder && !l.lost && !s.off && !l.by.paused && !l.by.dead {
			l.lost = true
			lost = append(lost, l)
		}
	}
	return lost
}

func (s *leases) believed(l *lease) bool { return slices.Contains(s.all, l) }
