package connectionkv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// bindingVersion is the layout of a stored binding.
const bindingVersion = noteVersion

// binding is the stored form of a StateBinding.
type binding struct {
	V            int       `json:"v"`
	ConnectionID string    `json:"connection_id"`
	ConsumedAt   time.Time `json:"consumed_at,omitzero"`
	CodeSHA256   string    `json:"code_sha256,omitempty"`

	// extra are members that this program does not know, as they were read.
	extra map[string]json.RawMessage
}

func (b binding) encode() ([]byte, error) {
	known, err := json.Marshal(b)
	if err != nil || len(b.extra) == 0 {
		return known, err
	}
	extra, err := json.Marshal(b.extra)
	if err != nil {
		return nil, err
	}
	return append(append(known[:len(known)-1], ','), extra[1:]...), nil // both are objects with members
}

func decodeBinding(data []byte) (binding, error) {
	var b binding
	all := map[string]json.RawMessage{}
	if json.Unmarshal(data, &all) != nil || json.Unmarshal(all["v"], &b.V) != nil {
		return binding{}, errors.New("decoding the binding: not a whole one")
	}
	if err := checkVersion("the binding", b.V); err != nil {
		return binding{}, err
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return binding{}, fmt.Errorf("decoding the binding: %w", err)
	}
	if b.V < 1 || b.ConnectionID == "" {
		return binding{}, errors.New("decoding the binding: not a whole one")
	}
	for _, name := range []string{"v", "connection_id", "consumed_at", "code_sha256"} {
		delete(all, name)
	}
	b.extra = all
	return b, nil
}

// stateKey hashes the state: it may have any length and any character, and a
// list of keys should not be a list of live states.
func stateKey(state string) string {
	sum := sha256.Sum256([]byte(state))
	return "state." + hex.EncodeToString(sum[:])
}

// BindState says which connection a state parameter was made for, once and for
// good. Binding it to the same connection again is no error. Errors: ErrStateTaken.
func (s *Store) BindState(ctx context.Context, state, connectionID string) error {
	err := s.bindState(ctx, state, connectionID)
	s.metrics.observe(opBindState, err)
	if err != nil {
		return fmt.Errorf("connectionkv: binding the state of %s: %w", printable(connectionID), err)
	}
	return nil
}

func (s *Store) bindState(ctx context.Context, state, connectionID string) error {
	if state == "" {
		return fault.Permanent(fault.Malformed, errors.New("state: missing"))
	}
	if err := checkToken("connection_id", connectionID); err != nil {
		return err
	}
	value, err := json.Marshal(binding{V: bindingVersion, ConnectionID: connectionID})
	if err != nil {
		return err
	}
	_, err = s.records.create(ctx, stateKey(state), value, 0)
	if !errors.Is(err, ErrExists) {
		return err
	}
	b, _, err := s.readBinding(ctx, state)
	switch {
	case errors.Is(err, ErrNotFound):
		return conflict() // unbound between the two looks
	case err != nil:
		return err
	case b.ConnectionID != connectionID:
		return fault.Permanent(fault.Rejected, ErrStateTaken)
	}
	return nil
}

// LookupState returns the binding of a state parameter. Errors: ErrNotFound.
func (s *Store) LookupState(ctx context.Context, state string) (StateBinding, error) {
	b, revision, err := s.readBinding(ctx, state)
	s.metrics.observe(opLookupState, err)
	if err != nil {
		return StateBinding{}, fmt.Errorf("connectionkv: looking up a state: %w", err)
	}
	if len(b.extra) > 0 {
		revision = 0 // whoever consumes it reads it again, and keeps them
	}
	return StateBinding{ConnectionID: b.ConnectionID, ConsumedAt: b.ConsumedAt, CodeSHA256: b.CodeSHA256, Revision: revision}, nil
}

// consumeTries bounds how often ConsumeState looks again after a conflict. One
// is enough: a binding is changed once in its life.
const consumeTries = 3

// ConsumeState marks a state as used by the code with this hash. seen is what
// LookupState said of it, so that it need not be read again; the zero value says
// nothing. Consuming it again with the same hash is no error. Errors: ErrNotFound;
// ErrStateConsumed when another code has used it.
func (s *Store) ConsumeState(ctx context.Context, state string, seen StateBinding, codeSHA256 string, at time.Time) error {
	err := s.consumeState(ctx, state, seen, codeSHA256, at)
	s.metrics.observe(opConsumeState, err)
	if err != nil {
		return fmt.Errorf("connectionkv: consuming a state: %w", err)
	}
	return nil
}

func (s *Store) consumeState(ctx context.Context, state string, seen StateBinding, codeSHA256 string, at time.Time) error {
	if codeSHA256 == "" {
		return errors.New("no code hash")
	}
	if seen.Revision > 0 && seen.CodeSHA256 == "" {
		fresh := binding{V: bindingVersion, ConnectionID: seen.ConnectionID}
		if err := s.consume(ctx, state, fresh, seen.Revision, codeSHA256, at); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	for range consumeTries {
		b, revision, err := s.readBinding(ctx, state)
		switch {
		case err != nil:
			return err
		case b.CodeSHA256 == codeSHA256:
			return nil
		case b.CodeSHA256 != "":
			return fault.Permanent(fault.Rejected, ErrStateConsumed)
		}
		if err := s.consume(ctx, state, b, revision, codeSHA256, at); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return conflict()
}

// consume writes that b, which stands at revision, is used. ErrConflict means that
// it has been changed.
func (s *Store) consume(ctx context.Context, state string, b binding, revision uint64, codeSHA256 string, at time.Time) error {
	b.ConsumedAt, b.CodeSHA256 = at.UTC(), codeSHA256
	value, err := b.encode()
	if err != nil {
		return err
	}
	_, err = s.records.write(ctx, stateKey(state), value, revision, 0)
	return err
}

// UnbindState forgets a state parameter; erasure calls it. That there is none
// is no error.
func (s *Store) UnbindState(ctx context.Context, state string) error {
	err := s.records.removeNewest(ctx, stateKey(state))
	s.metrics.observe(opUnbindState, err)
	if err != nil {
		return fmt.Errorf("connectionkv: unbinding a state: %w", err)
	}
	return nil
}

func (s *Store) readBinding(ctx context.Context, state string) (binding, uint64, error) {
	e, err := s.records.read(ctx, stateKey(state))
	if err != nil {
		return binding{}, 0, err
	}
	if !e.live {
		return binding{}, 0, ErrNotFound
	}
	b, err := decodeBinding(e.value)
	return b, e.revision, err
}
