package connectionkvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// MaxSealed is how many bytes a value in escrow may have where the broker is
// left as it comes: its max_payload.
const MaxSealed = 1 << 20

// Escrow keeps sealed values in memory, as connectionkv.Escrow does in a bucket.
// Safe for concurrent use.
type Escrow struct {
	form *regexp.Regexp

	mu     sync.Mutex
	values map[string][]byte
}

// NewEscrow returns an empty Escrow.
func NewEscrow() *Escrow {
	return &Escrow{
		form:   regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[0-9a-f]{64}$`),
		values: map[string][]byte{},
	}
}

// Put is connectionkv.Escrow.Put.
func (e *Escrow) Put(ctx context.Context, key string, sealed []byte) error {
	if err := e.check(ctx, key); err != nil {
		return err
	}
	if len(sealed) > MaxSealed {
		return fault.Permanent(fault.Oversize, fmt.Errorf("connectionkvtest: putting %d bytes into escrow: at most %d", len(sealed), MaxSealed))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.values[key] = bytes.Clone(sealed)
	return nil
}

// Get is connectionkv.Escrow.Get.
func (e *Escrow) Get(ctx context.Context, key string) (sealed []byte, found bool, err error) {
	if err := e.check(ctx, key); err != nil {
		return nil, false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	sealed, found = e.values[key]
	return bytes.Clone(sealed), found, nil
}

// Delete is connectionkv.Escrow.Delete.
func (e *Escrow) Delete(ctx context.Context, key string) error {
	if err := e.check(ctx, key); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.values, key)
	return nil
}

// Keys is connectionkv.Escrow.Keys.
func (e *Escrow) Keys(ctx context.Context) ([]string, error) {
	if err := ready(ctx); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.values)), nil
}

func (e *Escrow) check(ctx context.Context, key string) error {
	if !e.form.MatchString(key) {
		return fault.Permanent(fault.Malformed, errors.New("connectionkvtest: a key that is no uuid, dot and 64 hex digits"))
	}
	return ready(ctx)
}
