package custody

import (
	"context"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

const (
	keyBytes = 32
	// keyLife is how long one data key seals. Asking for one is a call to Vault,
	// which must not be made for each token call.
	keyLife = time.Hour
	// askAgain is when a key that did not exist is asked for again, askSoon when
	// one that could not be fetched is, while an older one still seals.
	askAgain = 5 * time.Minute
	askSoon  = 30 * time.Second
)

// sealingKey is a data key in use.
type sealingKey struct {
	aead    cipher.AEAD
	wrapped string
	since   time.Time
}

// keyring holds the data key in use. It must be there before a call is made:
// when Vault does not take the answer, it hands out no key either.
type keyring struct {
	keys DataKeys // nil: no escrow
	log  *slog.Logger

	mu      sync.Mutex
	current *sealingKey
	absent  error     // why there is no key; nil while there is one or none was asked for
	asked   time.Time // when the last answer was no key
}

// ready returns the key to seal with; nil where there is no escrow. An error
// means that there is one and Vault did not hand out the first key: no key, no call.
func (r *keyring) ready(ctx context.Context) (*sealingKey, error) {
	if r.keys == nil {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil && time.Since(r.current.since) < keyLife {
		return r.current, nil
	}
	if r.absent != nil && time.Since(r.asked) < askAgain {
		return nil, nil
	}
	if r.current != nil && time.Since(r.asked) < askSoon {
		return r.current, nil
	}
	fresh, err := r.fetch(ctx)
	switch {
	case err == nil:
		r.current, r.absent = fresh, nil
	case fault.Of(err) == fault.GiveUp:
		if r.absent == nil {
			r.log.WarnContext(ctx, "no key for the escrow: tokens that Vault does not take will not outlive this process", "error", err)
		}
		r.current, r.absent, r.asked = nil, err, time.Now()
	case r.current == nil:
		return nil, fmt.Errorf("custody: fetching a data key: %w", err)
	default:
		r.asked = time.Now() // the old one opens as well as ever
	}
	return r.current, nil
}

func (r *keyring) fetch(ctx context.Context) (*sealingKey, error) {
	ctx, cancel := context.WithTimeout(ctx, bookkeeping)
	defer cancel()
	plain, wrapped, err := r.keys.DataKey(ctx)
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(plain)
	clear(plain)
	return &sealingKey{aead: aead, wrapped: wrapped, since: time.Now()}, err
}

// problem says why answers are not sealed, nil when they are.
func (r *keyring) problem() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.absent
}

func (r *keyring) atHand() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current != nil
}

// open opens what was kept under key. The verdict GiveUp means that it will
// never open with the keys there are.
func (r *keyring) open(ctx context.Context, key string, raw []byte) (answer, error) {
	outer, box, err := parseSealed(raw)
	if err != nil {
		return answer{}, err
	}
	r.mu.Lock()
	current := r.current
	r.mu.Unlock()
	if current != nil && current.wrapped == outer.Key {
		return unseal(current.aead, key, box)
	}
	plain, err := r.keys.OpenKey(ctx, outer.Key)
	if err != nil {
		if fault.Of(err) == fault.GiveUp {
			err = fmt.Errorf("%w: %w", errKeyAway, err)
		}
		return answer{}, fmt.Errorf("custody: opening the key of an answer in escrow: %w", err)
	}
	aead, err := newAEAD(plain)
	clear(plain)
	if err != nil {
		return answer{}, err
	}
	return unseal(aead, key, box)
}

// errKeyAway: there is an answer, and the key that opens it is not to be had.
var errKeyAway = errors.New("its key is not to be had")

// StaticKeys are configured keys, for installations without Vault's Transit engine.
type StaticKeys struct{ keys []secret.Text }

const staticPrefix = "static:"

// NewStaticKeys takes keys of 32 bytes in base64, standard or for URLs. The
// first seals; all of them open, so that a key can be replaced.
func NewStaticKeys(keys ...secret.Text) (*StaticKeys, error) {
	if len(keys) == 0 {
		return nil, errors.New("custody: no escrow key")
	}
	for i, k := range keys {
		if raw, err := decodeKey(k); err != nil || len(raw) != keyBytes {
			return nil, fmt.Errorf("custody: escrow key %d is not the base64 of %d bytes", i+1, keyBytes)
		}
	}
	return &StaticKeys{slices.Clone(keys)}, nil
}

// DataKey returns the first key. What is kept beside what it seals is a name
// for it: the beginning of its SHA-256.
func (s *StaticKeys) DataKey(context.Context) (plain []byte, wrapped string, err error) {
	plain, err = decodeKey(s.keys[0])
	return plain, staticName(plain), err
}

// OpenKey returns the key of that name.
func (s *StaticKeys) OpenKey(_ context.Context, wrapped string) ([]byte, error) {
	for _, k := range s.keys {
		if plain, err := decodeKey(k); err == nil && staticName(plain) == wrapped {
			return plain, nil
		}
	}
	return nil, fault.Permanent(fault.Rejected, errors.New("custody: it was sealed with a key that is not configured"))
}

func staticName(plain []byte) string { return staticPrefix + secret.New(string(plain)).SHA256()[:16] }

func decodeKey(k secret.Text) ([]byte, error) {
	text := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(k.Reveal()), "=")
	return base64.RawStdEncoding.DecodeString(text)
}
