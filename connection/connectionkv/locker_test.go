package connectionkv_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/connection/connectionkv/connectionkvtest"
)

// flaky makes renewals fail for as long as down is set.
type flaky struct {
	*connectionkvtest.Memory
	down atomic.Bool
}

type flakyLease struct {
	connection.Lease
	from *flaky
}

var errDown = errors.New("nats: timeout")

func (f *flaky) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (connection.Lease, error) {
	l, err := f.Memory.Acquire(ctx, name, owner, ttl)
	return flakyLease{l, f}, err
}

func (l flakyLease) Renew(ctx context.Context) error {
	if l.from.down.Load() {
		return errDown
	}
	return l.Lease.Renew(ctx)
}

func newLocker() (*connectionkv.Locker, *flaky, *bytes.Buffer) {
	leases, log := &flaky{Memory: connectionkvtest.NewMemory()}, &bytes.Buffer{}
	return &connectionkv.Locker{
		Leases: leases, Owner: "replica-1", TTL: 30 * time.Second,
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	}, leases, log
}

func TestALockIsHeldForAsLongAsTheWorkTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locker, _, _ := newLocker()
		held, release, err := locker.Lock(t.Context(), "fetch.c1")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // the clock of the bubble
		if held.Err() != nil {
			t.Fatalf("lost after an hour: %v", context.Cause(held))
		}
		if _, _, err := locker.Lock(t.Context(), "fetch.c1"); !errors.Is(err, connection.ErrLeaseHeld) {
			t.Errorf("second Lock: %v", err)
		}
		release()
		release()
		if held.Err() == nil {
			t.Error("the context outlives the lock")
		}
		_, release, err = locker.Lock(t.Context(), "fetch.c1")
		if err != nil {
			t.Fatalf("Lock after release: %v", err)
		}
		release()
	})
}

func TestALockSurvivesARenewalThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locker, leases, _ := newLocker()
		held, release, err := locker.Lock(t.Context(), "fetch.c1")
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		leases.down.Store(true)
		time.Sleep(15 * time.Second) // one renewal missed
		leases.down.Store(false)
		time.Sleep(time.Minute)
		if held.Err() != nil {
			t.Errorf("lost: %v", context.Cause(held))
		}
	})
}

func TestALockThatCannotBeRenewedEndsWithItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locker, leases, log := newLocker()
		held, release, err := locker.Lock(t.Context(), "fetch.c1")
		if err != nil {
			t.Fatal(err)
		}
		leases.down.Store(true)
		start := time.Now()
		<-held.Done()
		if took := time.Since(start); took > locker.TTL {
			t.Errorf("worked on for %s with a lease of %s", took, locker.TTL)
		}
		if cause := context.Cause(held); !errors.Is(cause, connection.ErrLeaseLost) || !errors.Is(cause, errDown) {
			t.Errorf("cause %v", cause)
		}
		release()
		if !strings.Contains(log.String(), "lease lost") {
			t.Errorf("log: %s", log)
		}
	})
}

func TestALockTakenByAnotherEndsTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locker, leases, _ := newLocker()
		held, release, err := locker.Lock(t.Context(), "fetch.c1")
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		leases.down.Store(true) // as in a pause: no renewal, until another has it
		time.Sleep(25 * time.Second)
		leases.Memory.Expire("fetch.c1")
		if _, err := leases.Memory.Acquire(t.Context(), "fetch.c1", "other", time.Minute); err != nil {
			t.Fatal(err)
		}
		leases.down.Store(false)
		<-held.Done()
		if cause := context.Cause(held); !errors.Is(cause, connection.ErrLeaseLost) {
			t.Errorf("cause %v", cause)
		}
	})
}
