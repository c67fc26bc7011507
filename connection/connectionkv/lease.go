package connectionkv

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// minTTL is the shortest life a key can have, and its unit: the server refuses
// less and drops fractions.
const minTTL = time.Second

// markerTTL is how long the marker of a released lease stays. Without it the
// bucket would keep one message a connection for ever.
const markerTTL = time.Minute

// lease is a key in finx_leases whose TTL the server counts, so no clock of a
// replica matters. It is renewed by writing the key again on its last revision
// with a new TTL.
type lease struct {
	store *Store
	key   string
	value []byte // names this holder and no other, not even its owner's next lease
	ttl   time.Duration
	fence uint64

	mu       sync.Mutex
	revision uint64
	gone     bool
}

// Acquire takes the lease of that name for ttl, which is rounded up to whole
// seconds. Names are tokens of letters, digits, - and _ joined by dots; owner is
// for people who look into the bucket. Errors: ErrLeaseHeld, verdict Retry.
func (s *Store) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (Lease, error) {
	l, err := s.acquire(ctx, name, owner, ttl)
	s.metrics.observe(opAcquire, err)
	if err != nil {
		return nil, fmt.Errorf("connectionkv: acquiring lease %s: %w", name, err)
	}
	return l, nil
}

func (s *Store) acquire(ctx context.Context, name, owner string, ttl time.Duration) (*lease, error) {
	if err := checkName("lease name", name); err != nil {
		return nil, err
	}
	if ttl <= 0 {
		return nil, errors.New("a lease needs a ttl above 0")
	}
	value, err := json.Marshal(struct {
		V      int    `json:"v"`
		Owner  string `json:"owner"`
		Holder string `json:"holder"`
	}{noteVersion, owner, rand.Text()})
	if err != nil {
		return nil, err
	}
	l := &lease{store: s, key: name, value: value, ttl: (ttl + minTTL - 1).Truncate(minTTL)}
	l.revision, err = s.leases.create(ctx, l.key, l.value, l.ttl)
	if errors.Is(err, ErrExists) {
		return nil, fault.Transient("", ErrLeaseHeld)
	}
	if err != nil {
		return nil, err
	}
	l.fence = l.revision
	return l, nil
}

// Fence returns the revision at which the lease was acquired. Revisions of a
// bucket only rise, so a later holder has a higher one.
func (l *lease) Fence() uint64 { return l.fence }

// Renew extends the lease. A conflict is looked into: an earlier renewal whose
// answer was lost may have come through, and then the lease is still ours.
func (l *lease) Renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.renew(ctx)
	l.store.metrics.observe(opRenew, err)
	if err != nil {
		return fmt.Errorf("connectionkv: renewing lease %s: %w", l.key, err)
	}
	return nil
}

func (l *lease) renew(ctx context.Context) error {
	if l.gone {
		return lost()
	}
	revision, err := l.store.leases.write(ctx, l.key, l.value, l.revision, l.ttl)
	if errors.Is(err, ErrConflict) {
		if revision, err = l.adopt(ctx); err == nil {
			revision, err = l.store.leases.write(ctx, l.key, l.value, revision, l.ttl)
		}
	}
	if err != nil {
		return err
	}
	l.revision = revision
	return nil
}

// adopt returns the newest revision of the key if it is still this holder's.
func (l *lease) adopt(ctx context.Context) (uint64, error) {
	e, err := l.store.leases.read(ctx, l.key)
	if err != nil {
		return 0, err
	}
	if !e.live || string(e.value) != string(l.value) {
		l.gone = true
		return 0, lost()
	}
	return e.revision, nil
}

// Release ends the lease, so that the next one need not wait for its TTL.
func (l *lease) Release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.release(ctx)
	l.store.metrics.observe(opRelease, err)
	if err != nil {
		return fmt.Errorf("connectionkv: releasing lease %s: %w", l.key, err)
	}
	return nil
}

func (l *lease) release(ctx context.Context) error {
	if l.gone {
		return nil
	}
	err := l.store.leases.remove(ctx, l.key, l.revision, markerTTL)
	if errors.Is(err, ErrConflict) {
		revision, adoptErr := l.adopt(ctx)
		if errors.Is(adoptErr, ErrLeaseLost) {
			return nil
		}
		if err = adoptErr; err == nil {
			err = l.store.leases.remove(ctx, l.key, revision, markerTTL)
		}
	}
	if err == nil {
		l.gone = true
	}
	return err
}

// lost is worth another try of the whole job, and no server's fault.
func lost() error { return fault.Transient("", ErrLeaseLost) }
