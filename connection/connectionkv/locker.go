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
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.keep(held, lease, renewed); err != nil {
			l.Logger.WarnContext(ctx, "lease lost", "lease", name, "error", err)
			cancel(err)
		}
	}()
	var once sync.Once
	return held, func() {
		once.Do(func() {
			cancel(nil)
			<-done
			ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
			defer stop()
			if err := lease.Release(ctx); err != nil {
				l.Logger.WarnContext(ctx, "lease not released, it will run out", "lease", name, "error", err)
			}
		})
	}, nil
}

// keep renews the lease until ctx ends. It returns an error when the lease is
// lost, or may be because no renewal came through for a whole TTL.
func (l *Locker) keep(ctx context.Context, lease connection.Lease, renewed time.Time) error {
	tick := time.NewTicker(l.TTL / 3)
	defer tick.Stop()
	end := time.NewTimer(time.Until(renewed.Add(l.TTL)))
	defer end.Stop()
	var failed error
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-end.C:
			return errors.Join(fmt.Errorf("%w: not renewed within %s", ErrLeaseLost, l.TTL), failed)
		case <-tick.C:
		}
		start := time.Now()
		try, stop := context.WithDeadline(ctx, renewed.Add(l.TTL))
		failed = lease.Renew(try)
		stop()
		if errors.Is(failed, ErrLeaseLost) {
			return failed
		}
		if failed == nil {
			renewed = start
			end.Reset(time.Until(renewed.Add(l.TTL)))
		}
	}
}
