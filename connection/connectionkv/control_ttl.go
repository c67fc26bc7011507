package connectionkv

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// SaveFor is Save for a state that is kept for ttl, rounded up to whole seconds,
// counted anew at every save: an operator's replay, which nobody cleans up after.
func (c *Control) SaveFor(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (newRevision uint64, err error) {
	newRevision, err = c.saveFor(ctx, key, value, revision, ttl)
	c.metrics.observe(opControlSave, err)
	if err != nil {
		return 0, fmt.Errorf("connectionkv: saving a shared state: %w", err)
	}
	return newRevision, nil
}

func (c *Control) saveFor(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	if err := checkName("key", key); err != nil {
		return 0, err
	}
	if ttl = (ttl + minTTL - 1).Truncate(minTTL); ttl < minTTL {
		return 0, errors.New("no time to keep it for")
	}
	if revision != 0 {
		return c.bucket.write(ctx, key, value, revision, ttl)
	}
	revision, err := c.bucket.create(ctx, key, value, ttl)
	if errors.Is(err, ErrExists) {
		return 0, conflict()
	}
	return revision, err
}
