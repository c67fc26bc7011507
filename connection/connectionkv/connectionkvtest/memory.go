// Package connectionkvtest has the contract that every store of connections
// keeps, and an in-memory store that passes it. For tests and the local
// launcher only: what is in memory is gone with the process.
package connectionkvtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// Memory is a store of records, state bindings and leases in memory. It keeps
// encoded records, so nobody shares a slice or a map with it. It reads the clock
// of the process and so follows testing/synctest. Safe for concurrent use.
type Memory struct {
	mu       sync.Mutex
	revision uint64
	records  map[string]value
	states   map[string]connection.StateBinding
	leases   map[string]*memoryLease
}

type value struct {
	data     []byte
	revision uint64
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		records: map[string]value{},
		states:  map[string]connection.StateBinding{},
		leases:  map[string]*memoryLease{},
	}
}

// next returns the next revision. The caller holds the lock.
func (m *Memory) next() uint64 {
	m.revision++
	return m.revision
}

// Get is connectionkv.Store.Get.
func (m *Memory) Get(ctx context.Context, id string) (connection.Record, uint64, error) {
	if err := ready(ctx); err != nil {
		return connection.Record{}, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.records[id]
	if !ok {
		return connection.Record{}, 0, fmt.Errorf("connectionkvtest: reading record %s: %w", id, connection.ErrNotFound)
	}
	r, err := connection.Decode(v.data)
	return r, v.revision, err
}

// Create is connectionkv.Store.Create.
func (m *Memory) Create(ctx context.Context, r connection.Record) (uint64, error) {
	data, err := encode(ctx, r)
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.records[r.ID]; ok {
		return 0, fmt.Errorf("connectionkvtest: creating record %s: %w", r.ID, connection.ErrExists)
	}
	v := value{data, m.next()}
	m.records[r.ID] = v
	return v.revision, nil
}

// Update is connectionkv.Store.Update.
func (m *Memory) Update(ctx context.Context, r connection.Record, revision uint64) (uint64, error) {
	data, err := encode(ctx, r)
	if err != nil {
		return 0, err
	}
	if revision == 0 {
		return 0, errors.New("connectionkvtest: revision 0 is no revision; use Create")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records[r.ID].revision != revision {
		return 0, fault.Transient("", fmt.Errorf("connectionkvtest: updating record %s: %w", r.ID, connection.ErrConflict))
	}
	v := value{data, m.next()}
	m.records[r.ID] = v
	return v.revision, nil
}

// Delete is connectionkv.Store.Delete.
func (m *Memory) Delete(ctx context.Context, id string) error {
	if err := ready(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, id)
	return nil
}

// List is connectionkv.Store.List. each may call the store.
func (m *Memory) List(ctx context.Context, each func(connection.Record) error) error {
	m.mu.Lock()
	all := make([][]byte, 0, len(m.records))
	for _, v := range m.records {
		all = append(all, v.data)
	}
	m.mu.Unlock()
	for _, data := range all {
		if err := ready(ctx); err != nil {
			return err
		}
		r, err := connection.Decode(data)
		if err != nil {
			return err
		}
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

// BindState is connectionkv.Store.BindState.
func (m *Memory) BindState(ctx context.Context, state, connectionID string) error {
	if err := ready(ctx); err != nil {
		return err
	}
	if state == "" || connectionID == "" {
		return fault.Permanent(fault.Malformed, errors.New("connectionkvtest: binding a state: state or connection_id: missing"))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.states[state]; ok && b.ConnectionID != connectionID {
		return fault.Permanent(fault.Rejected, fmt.Errorf("connectionkvtest: binding a state: %w", connection.ErrStateTaken))
	} else if !ok {
		m.states[state] = connection.StateBinding{ConnectionID: connectionID}
	}
	return nil
}

// LookupState is connectionkv.Store.LookupState.
func (m *Memory) LookupState(ctx context.Context, state string) (connection.StateBinding, error) {
	if err := ready(ctx); err != nil {
		return connection.StateBinding{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.states[state]
	if !ok {
		return b, fmt.Errorf("connectionkvtest: looking up a state: %w", connection.ErrNotFound)
	}
	return b, nil
}

// ConsumeState is connectionkv.Store.ConsumeState.
func (m *Memory) ConsumeState(ctx context.Context, state string, _ connection.StateBinding, codeSHA256 string, at time.Time) error {
	if err := ready(ctx); err != nil {
		return err
	}
	if codeSHA256 == "" {
		return errors.New("connectionkvtest: consuming a state: no code hash")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.states[state]
	switch {
	case !ok:
		return fmt.Errorf("connectionkvtest: consuming a state: %w", connection.ErrNotFound)
	case b.CodeSHA256 == codeSHA256:
		return nil
	case b.CodeSHA256 != "":
		return fault.Permanent(fault.Rejected, fmt.Errorf("connectionkvtest: consuming a state: %w", connection.ErrStateConsumed))
	}
	b.ConsumedAt, b.CodeSHA256 = at.UTC(), codeSHA256
	m.states[state] = b
	return nil
}

// UnbindState is connectionkv.Store.UnbindState.
func (m *Memory) UnbindState(ctx context.Context, state string) error {
	if err := ready(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.states, state)
	return nil
}

func encode(ctx context.Context, r connection.Record) ([]byte, error) {
	if err := ready(ctx); err != nil {
		return nil, err
	}
	return connection.Encode(r)
}

// ready answers as the real store does when the caller has gone.
func ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fault.Transient(fault.NATS, fmt.Errorf("connectionkvtest: %w", err))
	}
	return nil
}
