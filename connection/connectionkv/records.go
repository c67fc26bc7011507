package connectionkv

import (
	"context"
	"errors"
	"fmt"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

const recordPrefix = "connection."

// Get returns the record of a connection and its revision. Errors: ErrNotFound;
// *connection.VersionError, with the verdict WaitUntil, and others for a record that
// cannot be read.
func (s *Store) Get(ctx context.Context, id string) (connection.Record, uint64, error) {
	r, revision, err := s.get(ctx, id)
	s.metrics.observe(opGet, err)
	if err != nil {
		return connection.Record{}, 0, fmt.Errorf("connectionkv: reading record %s: %w", printable(id), err)
	}
	return r, revision, nil
}

func (s *Store) get(ctx context.Context, id string) (connection.Record, uint64, error) {
	if err := checkToken("connection_id", id); err != nil {
		return connection.Record{}, 0, err
	}
	e, err := s.records.read(ctx, recordPrefix+id)
	if err != nil {
		return connection.Record{}, 0, err
	}
	if !e.live {
		return connection.Record{}, 0, ErrNotFound
	}
	r, err := connection.Decode(e.value)
	return r, e.revision, judgeDecoding(err)
}

// Create stores a new record and returns its revision. Errors: ErrExists. A
// record that was deleted may be created again.
func (s *Store) Create(ctx context.Context, r connection.Record) (uint64, error) {
	value, err := s.encode(r)
	var revision uint64
	if err == nil {
		revision, err = s.records.create(ctx, recordPrefix+r.ID, value, 0)
	}
	s.metrics.observe(opCreate, err)
	if err != nil {
		return 0, fmt.Errorf("connectionkv: creating record %s: %w", printable(r.ID), err)
	}
	return revision, nil
}

// Update replaces the record that was read at revision and returns the new
// revision. Errors: ErrConflict when it was written or deleted since.
func (s *Store) Update(ctx context.Context, r connection.Record, revision uint64) (uint64, error) {
	value, err := s.encode(r)
	if err == nil && revision == 0 {
		err = errors.New("revision 0 is no revision; use Create")
	}
	var next uint64
	if err == nil {
		next, err = s.records.write(ctx, recordPrefix+r.ID, value, revision, 0)
	}
	s.metrics.observe(opUpdate, err)
	if err != nil {
		return 0, fmt.Errorf("connectionkv: updating record %s: %w", printable(r.ID), err)
	}
	return next, nil
}

// deleteTries bounds how often a delete follows a record that others keep
// writing.
const deleteTries = 8

// Delete removes the record of a connection with whatever it holds at that
// moment. That there is none is no error.
func (s *Store) Delete(ctx context.Context, id string) error {
	err := checkToken("connection_id", id)
	if err == nil {
		err = s.records.removeNewest(ctx, recordPrefix+id)
	}
	s.metrics.observe(opDelete, err)
	if err != nil {
		return fmt.Errorf("connectionkv: deleting record %s: %w", printable(id), err)
	}
	return nil
}

func (b bucket) removeNewest(ctx context.Context, key string) error {
	for range deleteTries {
		e, err := b.read(ctx, key)
		if err != nil || !e.live {
			return err
		}
		if err := b.remove(ctx, key, e.revision, 0); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return conflict()
}

func (s *Store) encode(r connection.Record) ([]byte, error) {
	if err := checkToken("connection_id", r.ID); err != nil {
		return nil, err
	}
	value, err := connection.Encode(r)
	if err != nil {
		return nil, err
	}
	if len(value) > s.maxValue {
		return nil, fault.Permanent(fault.Oversize,
			fmt.Errorf("the record has %d bytes, at most %d are stored", len(value), s.maxValue))
	}
	return value, nil
}

// printable keeps an id that is not one of ours, and may be anything, out of
// error texts.
func printable(id string) string {
	if checkToken("", id) != nil {
		return "(not an id)"
	}
	return id
}
