package connectionkvtest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// shortTTL is the shortest life a key of a NATS bucket can have.
const shortTTL = time.Second

// poll is how often a condition is looked at.
const poll = 50 * time.Millisecond

// acquireWithin tries until the lease is free, or the time is over.
func acquireWithin(t *testing.T, ctx context.Context, s Store, name string, ttl, within time.Duration) connection.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		l, err := s.Acquire(ctx, name, "waiting", ttl)
		if err == nil {
			return l
		}
		if !errors.Is(err, connection.ErrLeaseHeld) {
			t.Fatalf("Acquire: %v", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("lease %s was not free within %s", name, within)
		}
	}
}

func leaseHasOneHolder(t *testing.T, ctx context.Context, s Store) {
	var mu sync.Mutex
	var holders []connection.Lease
	won := race(t, func(int) error {
		l, err := s.Acquire(ctx, "fetch.c1", "racer", time.Minute)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			holders = append(holders, l)
		}
		return err
	}, connection.ErrLeaseHeld)
	if won != 1 {
		t.Fatalf("%d of %d racers hold the lease", won, racers)
	}
	_, err := s.Acquire(ctx, "fetch.c1", "late", time.Minute)
	wantErr(t, "Acquire of a held lease", err, connection.ErrLeaseHeld, fault.Retry)
	if err := holders[0].Renew(ctx); err != nil {
		t.Errorf("Renew: %v", err)
	}
	if _, err := s.Acquire(ctx, "fetch.c2", "late", time.Minute); err != nil {
		t.Errorf("Acquire of another lease: %v", err)
	}
}

func releasedLeaseIsFree(t *testing.T, ctx context.Context, s Store) {
	var fence uint64
	for range 3 {
		l, err := s.Acquire(ctx, "l1", "me", time.Minute)
		if err != nil {
			t.Fatalf("Acquire: %v", err)
		}
		if l.Fence() <= fence {
			t.Errorf("fence %d after %d", l.Fence(), fence)
		}
		fence = l.Fence()
		if err := l.Renew(ctx); err != nil || l.Fence() != fence {
			t.Errorf("Renew: %v, fence %d, before %d", err, l.Fence(), fence)
		}
		for range 2 { // releasing twice is no error
			if err := l.Release(ctx); err != nil {
				t.Errorf("Release: %v", err)
			}
		}
		wantErr(t, "Renew after Release", l.Renew(ctx), connection.ErrLeaseLost, fault.Retry)
	}
}

func leaseRunsOutUnlessRenewed(t *testing.T, ctx context.Context, s Store) {
	const (
		ttl      = 2 * shortTTL // room for a busy machine between two renewals
		every    = ttl / 8
		renewals = 12 // half as long again as its life
	)
	l, err := s.Acquire(ctx, "l1", "me", ttl)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for range renewals {
		<-tick.C
		if err := l.Renew(ctx); err != nil {
			t.Fatalf("Renew: %v", err)
		}
		if _, err := s.Acquire(ctx, "l1", "other", ttl); !errors.Is(err, connection.ErrLeaseHeld) {
			t.Fatalf("a renewed lease was given to another: %v", err)
		}
	}
	next := acquireWithin(t, ctx, s, "l1", time.Minute, 10*time.Second)
	if next.Fence() <= l.Fence() {
		t.Errorf("fence %d after %d", next.Fence(), l.Fence())
	}
}

func oversleptHolderNotices(t *testing.T, ctx context.Context, s Store) {
	l, err := s.Acquire(ctx, "l1", "sleeper", shortTTL)
	if err != nil {
		t.Fatal(err)
	}
	next := acquireWithin(t, ctx, s, "l1", time.Minute, 10*time.Second)
	wantErr(t, "Renew by the sleeper", l.Renew(ctx), connection.ErrLeaseLost, fault.Retry)
	if err := l.Release(ctx); err != nil {
		t.Errorf("Release by the sleeper: %v", err)
	}
	if err := next.Renew(ctx); err != nil {
		t.Errorf("the sleeper took the lease from its next holder: %v", err)
	}
	// Run out with nobody waiting: still lost, never revived.
	alone, err := s.Acquire(ctx, "l2", "sleeper", shortTTL)
	if err != nil {
		t.Fatal(err)
	}
	again := acquireWithin(t, ctx, s, "l2", shortTTL, 10*time.Second)
	if err := again.Release(ctx); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Renew of a lease that ran out", alone.Renew(ctx), connection.ErrLeaseLost, fault.Retry)
}
