package connectionkv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/connection"
)

// acquirer is the part of Store that a Locker needs.
type acquirer interface {
	Acquire(ctx context.Context, name, owner string, ttl time.Duration) (connection.Lease, error)
}

// Locker makes locks out of leases: held for as long as the work takes, free
// again within TTL when the process dies. Safe for concurrent use.
type Locker struct {
	Leases acquirer
	Owner  string        // for people: which replica
	TTL    time.Duration // how long a lock outlives its process; renewed every third of it
	Logger *slog.Logger
}

// releaseTimeout bounds the release, which has a clock of its own.
const releaseTimeout = 5 * time.Second

// Lock takes the lock of that name across all replicas, without waiting. The
// context it returns is a child of ctx that ends when release is called or, with
// the cause ErrLeaseLost, when the lock can no longer be ours. release must be
// called; more than once is fine. Errors: as of Acquire.
func (l *Locker) Lock(ctx context.Context, name string) (held context.Context, release func(), err error) {
	renewed := time.Now() // before the request: the server's clock starts later, never earlier
	lease, err := l.Leases.Acquire(ctx, name, l.Owner, l.TTL)
	if err != nil {
		return nil, nil, err
	}
	held, cancel := context.WithCancelCause(ctx)
	stop := l.keep(held, lease, renewed, func(err error) {
		l.Logger.WarnContext(ctx, "lease lost", "lease", name, "error", err)
		cancel(err)
	})
	var once sync.Once
	return held, func() {
		once.Do(func() {
			cancel(nil)
			stop()
			ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
			defer stop()
			if err := lease.Release(ctx); err != nil {
				l.Logger.WarnContext(ctx, "lease not released, it will run out", "lease", name, "error", err)
			}
		})
	}, nil
}

// keep renews the lease until ctx ends. It calls lost when the lease is, or may be
// because no renewal came through for a whole TTL. The function it returns stops it
// and waits for a renewal under way. Between two renewals nobody waits on a
// goroutine: there may be thousands of locks.
func (l *Locker) keep(ctx context.Context, lease connection.Lease, renewed time.Time, lost func(error)) (stop func()) {
	var mu sync.Mutex // held while the lease is renewed
	var timer *time.Timer
	var failed error
	over := false
	step := func() {
		mu.Lock()
		defer mu.Unlock()
		if over || ctx.Err() != nil {
			return
		}
		start, end := time.Now(), renewed.Add(l.TTL)
		if start.Before(end) {
			try, cancel := context.WithDeadline(ctx, end)
			failed = lease.Renew(try)
			cancel()
			if failed == nil {
				renewed, end = start, start.Add(l.TTL)
			}
		}
		switch now := time.Now(); {
		case ctx.Err() != nil:
			over = true
		case errors.Is(failed, ErrLeaseLost):
			over = true
			lost(failed)
		case !now.Before(end):
			over = true
			lost(errors.Join(fmt.Errorf("%w: not renewed within %s", ErrLeaseLost, l.TTL), failed))
		default:
			timer.Reset(min(l.TTL/3, end.Sub(now)))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(min(l.TTL/3, time.Until(renewed.Add(l.TTL))), step)
	return func() {
		timer.Stop()
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
}
