package connectionkvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// suspectTTL is connectionkv's.
const suspectTTL = 24 * time.Hour

// ControlBucket keeps in memory what replicas share, as connectionkv.Control does
// in a bucket. It reads the clock of the process and so follows testing/synctest.
// Safe for concurrent use.
type ControlBucket struct {
	ttl time.Duration

	mu       sync.Mutex
	revision uint64
	cells    map[string]cell
	changed  chan struct{} // closed at each change
	killed   map[string]bool
}

type cell struct {
	data     []byte
	count    int
	revision uint64
	expiry   *time.Timer // nil: stays for ever
}

// NewControlBucket returns an empty bucket, in which a replica that was killed
// counts for ttl.
func NewControlBucket(ttl time.Duration) *ControlBucket {
	return &ControlBucket{ttl: ttl, cells: map[string]cell{}, changed: make(chan struct{}), killed: map[string]bool{}}
}

// Open returns the Control of a replica.
func (b *ControlBucket) Open(holder string) *Control { return &Control{bucket: b, holder: holder} }

// Delete takes a key away, as an operator would.
func (b *ControlBucket) Delete(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(key)
}

// Kill makes a replica end without a word.
func (b *ControlBucket) Kill(holder string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.killed[holder] = true
}

// put stores c and returns its revision. The caller holds the lock.
func (b *ControlBucket) put(key string, c cell, ttl time.Duration) uint64 {
	b.remove(key)
	b.revision++
	revision := b.revision
	c.revision = revision
	if ttl > 0 {
		c.expiry = time.AfterFunc(ttl, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.cells[key].revision == revision {
				b.remove(key)
			}
		})
	}
	b.cells[key] = c
	return revision
}

// remove takes a key away and wakes the watches. The caller holds the lock.
func (b *ControlBucket) remove(key string) {
	if t := b.cells[key].expiry; t != nil {
		t.Stop()
	}
	delete(b.cells, key)
	close(b.changed)
	b.changed = make(chan struct{})
}

// Control is one replica's. See connectionkv.Control for what its methods do.
type Control struct {
	bucket *ControlBucket
	holder string
}

// Load is connectionkv.Control.Load.
func (c *Control) Load(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	if err := checkControlKey(ctx, key); err != nil {
		return nil, 0, err
	}
	value, revision, _ = c.look(key)
	return value, revision, nil
}

// look returns the value of a key, its revision, and what is closed at the next
// change of any key.
func (c *Control) look(key string) ([]byte, uint64, <-chan struct{}) {
	b := c.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cells[key]
	return bytes.Clone(now.data), now.revision, b.changed
}

// Save is connectionkv.Control.Save.
func (c *Control) Save(ctx context.Context, key string, value []byte, revision uint64) (newRevision uint64, err error) {
	if err := checkControlKey(ctx, key); err != nil {
		return 0, err
	}
	b := c.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cells[key].revision != revision {
		return 0, fault.Transient("", fmt.Errorf("connectionkvtest: saving a shared state: %w", connection.ErrConflict))
	}
	return b.put(key, cell{data: append([]byte{}, value...)}, 0), nil
}

// Watch is connectionkv.Control.Watch; what is in memory never breaks.
func (c *Control) Watch(ctx context.Context, key string, each func(value []byte, revision uint64)) error {
	if err := checkControlKey(ctx, key); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the caller has ended it
		}
		return err
	}
	value, revision, changed := c.look(key)
	for told := false; ; {
		if !told {
			each(value, revision)
		}
		before := revision
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			value, revision, changed = c.look(key)
			told = revision == before
		}
	}
}

// Announce is connectionkv.Control.Announce.
func (c *Control) Announce(ctx context.Context) {
	const renewals = 3 // within a TTL
	key, b := replicaKey(c.holder), c.bucket
	tick := time.NewTicker(b.ttl / renewals)
	defer tick.Stop()
	alive := func(do func()) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !b.killed[c.holder] {
			do()
		}
	}
	for own := uint64(0); ; {
		alive(func() { own = b.put(key, cell{}, b.ttl) })
		select {
		case <-tick.C:
		case <-ctx.Done():
			alive(func() {
				if b.cells[key].revision == own {
					b.remove(key)
				}
			})
			return
		}
	}
}

// Replicas is connectionkv.Control.Replicas.
func (c *Control) Replicas() int {
	b := c.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 1
	for key := range b.cells {
		if strings.HasPrefix(key, replicaKey("")) && key != replicaKey(c.holder) {
			n++
		}
	}
	return n
}

func replicaKey(holder string) string { return "replica." + holder }

// Begun is connectionkv.Control.Begun.
func (c *Control) Begun(ctx context.Context, stream string, sequence uint64) (times int, err error) {
	key, err := suspectKey(ctx, stream, sequence)
	if err != nil {
		return 0, err
	}
	b := c.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	times = b.cells[key].count + 1
	b.put(key, cell{count: times}, suspectTTL)
	return times, nil
}

// Returned is connectionkv.Control.Returned.
func (c *Control) Returned(ctx context.Context, stream string, sequence uint64) error {
	key, err := suspectKey(ctx, stream, sequence)
	if err != nil {
		return err
	}
	c.bucket.Delete(key)
	return nil
}

// Check is connectionkv.Control.Check; memory is always fit.
func (c *Control) Check(ctx context.Context) error { return ready(ctx) }

func suspectKey(ctx context.Context, stream string, sequence uint64) (string, error) {
	if stream == "" || strings.ContainsAny(stream, " \t\r\n.*>") {
		return "", fault.Permanent(fault.Malformed, errors.New("connectionkvtest: no name of a stream"))
	}
	return fmt.Sprintf("suspect.%s.%d", stream, sequence), ready(ctx)
}

func checkControlKey(ctx context.Context, key string) error {
	const maxLen = 256
	tokens := strings.Split(key, ".")
	strange := func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", r)
	}
	if slices.ContainsFunc(tokens, func(t string) bool { return t == "" || len(t) > maxLen || strings.ContainsFunc(t, strange) }) {
		return fault.Permanent(fault.Malformed, errors.New("connectionkvtest: a key that is not tokens joined by dots"))
	}
	return ready(ctx)
}
