package connectionkvtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// memoryLease is held while it is the one in Memory.leases and not past expires.
type memoryLease struct {
	store   *Memory
	name    string
	ttl     time.Duration
	fence   uint64
	expires time.Time
}

// Acquire is connectionkv.Store.Acquire.
func (m *Memory) Acquire(ctx context.Context, name, _ string, ttl time.Duration) (connection.Lease, error) {
	if err := ready(ctx); err != nil {
		return nil, err
	}
	if name == "" || ttl <= 0 {
		return nil, fault.Permanent(fault.Malformed, errors.New("connectionkvtest: acquiring lease: name and ttl are needed"))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.leases[name]; l != nil && l.held() {
		return nil, fault.Transient("", fmt.Errorf("connectionkvtest: acquiring lease %s: %w", name, connection.ErrLeaseHeld))
	}
	l := &memoryLease{store: m, name: name, ttl: ttl, fence: m.next(), expires: time.Now().Add(ttl)}
	m.leases[name] = l
	return l, nil
}

// held is called with the store's lock held.
func (l *memoryLease) held() bool {
	return l.store.leases[l.name] == l && time.Now().Before(l.expires)
}

// Fence returns the revision at which the lease was acquired.
func (l *memoryLease) Fence() uint64 { return l.fence }

// Renew extends the lease by its ttl from now.
func (l *memoryLease) Renew(ctx context.Context) error {
	if err := ready(ctx); err != nil {
		return err
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if !l.held() {
		return fault.Transient("", fmt.Errorf("connectionkvtest: renewing lease %s: %w", l.name, connection.ErrLeaseLost))
	}
	l.expires = time.Now().Add(l.ttl)
	return nil
}

// Release ends the lease if it is still held.
func (l *memoryLease) Release(ctx context.Context) error {
	if err := ready(ctx); err != nil {
		return err
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.store.leases[l.name] == l {
		delete(l.store.leases, l.name)
	}
	return nil
}

// Expire lets a lease run out now, as if its holder had been paused.
func (m *Memory) Expire(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.leases, name)
}
