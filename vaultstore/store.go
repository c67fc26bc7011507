// Package vaultstore keeps the tokens of each connection as one secret of
// Vault's KV v2 engine, at <mount>/<prefix>/connections/<connection id>.
//
// Every write is check-and-set: two writers that read the same version cannot
// both win, whatever happened to leases and processes in between. After each
// write but that of a journal mark no superseded version is left that could be
// read, or undeleted, however many versions the mount or the key is set to keep;
// a mark leaves the version that has the same tokens. Each error carries its verdict
// (internal/fault) and never a secret.
package vaultstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// Store is safe for concurrent use. Make one with New.
type Store struct {
	session   *session
	paths     paths
	transit   transit
	log       *slog.Logger
	metrics   *Metrics
	maxRecord int
	namespace string
	limits    atomic.Pointer[limits] // of the mount; nil until first asked for
	unjudged  atomic.Bool            // it has been said that the rights go unchecked
}

// upgradeWait is when a record that a newer program wrote is looked at again.
const upgradeWait = time.Minute

// Get returns the record of a connection and its version, both from one answer.
//
// errors.Is(err, ErrNotFound) means that Vault answered and there is no record.
// The version is then still the one the next Put must name: 0, or more when
// somebody deleted the newest version by hand.
func (s *Store) Get(ctx context.Context, id string) (r Record, v Version, err error) {
	defer s.measure(ctx, "get", time.Now(), &err)
	if err := CheckID(id); err != nil {
		return Record{}, 0, err
	}
	data, v, err := s.read(ctx, id)
	if err != nil {
		return Record{}, v, fmt.Errorf("vaultstore: reading record %s: %w", id, err)
	}
	if r, err = data.record(); errors.Is(err, errNewer) {
		// It waits for a replica that has been upgraded, and counts as nobody's failure.
		return Record{}, 0, fault.Throttled("", time.Now().Add(upgradeWait), fmt.Errorf("vaultstore: reading record %s: %w", id, &recordError{err}))
	}
	if err != nil {
		return Record{}, 0, fault.Transient(fault.Vault, fmt.Errorf("vaultstore: reading record %s: %w", id, &recordError{err}))
	}
	return r, v, nil
}

// Put writes the record if the stored version is still cas (0: no record yet)
// and returns the new version.
//
// errors.Is(err, ErrConflict) means that another writer was first: nothing was
// written, read again. An answer that got lost is looked for by the write's own
// random id, so a conflict with ourselves is a success. fault.IsAmbiguous(err)
// means that the record may or may not have been written, now or within the
// next seconds. errors.Is(err, ErrTooLarge) is for ever.
func (s *Store) Put(ctx context.Context, id string, r Record, cas Version) (v Version, err error) {
	defer s.measure(ctx, "put", time.Now(), &err)
	if err := CheckID(id); err != nil {
		return 0, err
	}
	writeID := rand.Text()
	body, err := encode(r, cas, writeID, s.maxRecord)
	if err != nil {
		return 0, fmt.Errorf("vaultstore: writing record %s: %w", id, err)
	}
	if v, err = s.put(ctx, id, body, writeID, cas, r.Pending != nil && r.Pending.Outcome == ""); err != nil {
		return 0, fmt.Errorf("vaultstore: writing record %s: %w", id, err)
	}
	return v, nil
}

// put writes. A mark changes no token, so what it supersedes is no older token:
// the write that follows the call destroys both, and the call need not wait for it.
func (s *Store) put(ctx context.Context, id string, body []byte, writeID string, cas Version, mark bool) (Version, error) {
	lim, err := s.prepare(ctx, id, cas)
	if err != nil {
		return 0, err
	}
	v, err := s.write(ctx, id, body)
	if errors.Is(err, ErrConflict) || fault.IsAmbiguous(err) {
		v, err = s.settle(ctx, id, writeID, err)
	}
	if err != nil {
		return 0, err
	}
	if !mark {
		s.destroySuperseded(ctx, id, v, lim)
	}
	return v, nil
}

// settle looks whether a write that seems lost has landed. It has a clock of
// its own: the answer is worth more than the caller's deadline.
func (s *Store) settle(ctx context.Context, id, writeID string, lost error) (Version, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.session.timeout)
	defer cancel()
	data, v, err := s.read(ctx, id)
	switch {
	case err == nil && data.WriteID == writeID:
		return v, nil
	case err == nil, errors.Is(err, ErrNotFound):
		return 0, lost
	case errors.Is(lost, ErrConflict):
		// The conflict may be with ourselves, and now nobody can say.
		return 0, fault.Ambiguous(fault.Vault, fmt.Errorf("looking for the write after a conflict: %w", err))
	}
	return 0, lost
}

// write makes the check-and-set write.
func (s *Store) write(ctx context.Context, id string, body []byte) (Version, error) {
	var v Version
	err := s.session.do(ctx, true, func(ctx context.Context, client *api.Client) error {
		got, err := client.Logical().WriteBytesWithContext(ctx, s.paths.data(id), body)
		if err != nil {
			return err
		}
		v, err = versionOf(got)
		return err
	})
	return v, err
}

func versionOf(got *api.Secret) (Version, error) {
	if got == nil {
		return 0, errors.New("an empty answer to a write")
	}
	number, ok := got.Data["version"].(json.Number)
	if !ok {
		return 0, errors.New("an answer without a version")
	}
	n, err := strconv.Atoi(number.String())
	if err != nil || n < 1 {
		return 0, errors.New("an answer with an impossible version")
	}
	return Version(n), nil
}

// Erase destroys the record with all its versions and returns how many of them
// still held data. No record is 0 and no error. Afterwards versions count from
// 1 again, so a writer that still holds version 1 of the old record could win:
// whoever erases keeps writers out by a tombstone first.
func (s *Store) Erase(ctx context.Context, id string) (versions int, err error) {
	defer s.measure(ctx, "erase", time.Now(), &err)
	if err := CheckID(id); err != nil {
		return 0, err
	}
	if versions, err = s.countVersions(ctx, id); err != nil {
		return 0, fmt.Errorf("vaultstore: erasing record %s: %w", id, err)
	}
	err = s.session.do(ctx, true, func(ctx context.Context, client *api.Client) error {
		_, err := client.Logical().DeleteWithContext(ctx, s.paths.metadata(id))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("vaultstore: erasing record %s: %w", id, err)
	}
	return versions, nil
}

// Close closes idle connections. Operations under way go on.
func (s *Store) Close() { s.session.closeIdle() }

// measure is deferred at the top of each operation.
func (s *Store) measure(ctx context.Context, operation string, started time.Time, err *error) {
	s.metrics.operation(operation, time.Since(started), *err)
	trace(ctx, operation, started, *err)
	about := standing(ctx, *err)
	if operation == opCheck && about.Kind == guard.Alive {
		return // it is what an open guard asks with; that records can be kept is for them to say
	}
	s.session.observe(about)
}
