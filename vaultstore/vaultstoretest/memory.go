// Package vaultstoretest holds the contract of a token store as a test suite,
// and a store in memory that passes it.
package vaultstoretest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// Memory keeps records in this process and nowhere else: for tests and for the
// local demo. It is safe for concurrent use. Make one with NewMemory.
type Memory struct {
	mu      sync.Mutex
	records map[string]entry
}

type entry struct {
	record  vaultstore.Record
	version vaultstore.Version
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{records: map[string]entry{}} }

// Get is vaultstore.Store's.
func (m *Memory) Get(ctx context.Context, id string) (vaultstore.Record, vaultstore.Version, error) {
	if err := ready(ctx, id); err != nil {
		return vaultstore.Record{}, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.records[id]
	if !ok {
		return vaultstore.Record{}, 0, fmt.Errorf("vaultstoretest: reading record %s: %w", id, vaultstore.ErrNotFound)
	}
	return clone(e.record), e.version, nil
}

// Put is vaultstore.Store's.
func (m *Memory) Put(ctx context.Context, id string, r vaultstore.Record, cas vaultstore.Version) (vaultstore.Version, error) {
	if err := ready(ctx, id); err != nil {
		return 0, err
	}
	if n := r.AccessToken.Len() + r.RefreshToken.Len(); n > vaultstore.DefaultMaxRecordBytes {
		return 0, fault.Permanent(fault.Oversize, fmt.Errorf("vaultstoretest: writing record %s: %w: %d bytes", id, vaultstore.ErrTooLarge, n))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records[id].version != cas {
		return 0, fault.Transient("", fmt.Errorf("vaultstoretest: writing record %s: %w", id, vaultstore.ErrConflict))
	}
	m.records[id] = entry{clone(r), cas + 1}
	return cas + 1, nil
}

// Erase is vaultstore.Store's; there is never more than one version.
func (m *Memory) Erase(ctx context.Context, id string) (int, error) {
	if err := ready(ctx, id); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.records[id]; !ok {
		return 0, nil
	}
	delete(m.records, id)
	return 1, nil
}

// List is vaultstore.Store's.
func (m *Memory) List(ctx context.Context, each func(id string) error) error {
	if ctx.Err() != nil {
		return gone(ctx)
	}
	m.mu.Lock()
	ids := slices.Sorted(maps.Keys(m.records))
	m.mu.Unlock()
	for _, id := range ids {
		if err := each(id); err != nil {
			return err
		}
	}
	return nil
}

// Check is vaultstore.Store's: memory is always there.
func (m *Memory) Check(ctx context.Context) error {
	if ctx.Err() != nil {
		return gone(ctx)
	}
	return nil
}

// Run is vaultstore.Store's: there is no login to keep alive.
func (m *Memory) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Close is vaultstore.Store's.
func (m *Memory) Close() {}

func ready(ctx context.Context, id string) error {
	if err := vaultstore.CheckID(id); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return gone(ctx)
	}
	return nil
}

func gone(ctx context.Context) error {
	return fault.Transient(fault.Vault, fmt.Errorf("vaultstoretest: waiting: %w", context.Cause(ctx)))
}

// clone keeps caller and store apart, and gives times the form they have after
// a way through JSON.
func clone(r vaultstore.Record) vaultstore.Record {
	r.AccessExpiresAt = plain(r.AccessExpiresAt)
	r.RefreshObtainedAt = plain(r.RefreshObtainedAt)
	if r.Pending != nil {
		pending := *r.Pending
		pending.StartedAt = plain(pending.StartedAt)
		r.Pending = &pending
	}
	r.Earlier = slices.Clone(r.Earlier)
	for i := range r.Earlier {
		r.Earlier[i].StartedAt = plain(r.Earlier[i].StartedAt)
	}
	return r
}

func plain(t time.Time) time.Time { return t.UTC().Round(0) }
