package custody

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// How long to wait between two tries to store tokens that finX has handed out.
const (
	storeWaitFirst = 100 * time.Millisecond
	storeWaitMax   = 5 * time.Second
)

// store writes an answer of finX into the connection's secret. There is no
// deadline and no cancellation: from here on the only copy of the newest
// refresh token is in this process, so it tries until Vault takes it. The only
// error is that of tokens too large for any Vault.
func (k *Keeper) store(ctx context.Context, s spend, rec vaultstore.Record, version vaultstore.Version, t finx.Tokens) (vaultstore.Record, error) {
	ctx = context.WithoutCancel(ctx)
	done := k.holding.enter(s.id)
	defer done()
	seen := rec.Rotation
	wait := storeWaitFirst
	for try := 1; ; try++ {
		next := rec
		s.apply(&next, t)
		_, err := k.cfg.Secrets.Put(ctx, s.id, next, version)
		switch {
		case err == nil:
			k.cfg.Metrics.settled(s.kind, nil)
			return next, nil
		case errors.Is(err, vaultstore.ErrConflict):
			now, at, readErr := k.read(ctx, s.id)
			if readErr == nil {
				if now.Rotation > seen {
					// Newer tokens than ours are in the store; ours came from
					// a call that was overtaken.
					return now, nil
				}
				moved := at != version
				rec, version = now, at
				if moved {
					continue
				}
			}
			err = errors.Join(err, readErr)
		case fault.Of(err) == fault.GiveUp:
			// No later try could store them: they are larger than Vault takes.
			k.cfg.Metrics.settled(s.kind, s.unknown)
			return rec, fmt.Errorf("custody: storing the tokens of the %s: %w", s.kind, err)
		}
		k.cfg.Metrics.storeRetried()
		k.cfg.Logger.ErrorContext(ctx, "tokens in hand cannot be stored, trying on",
			"connection_id", s.id, "kind", s.kind, "try", try, "error", err)
		time.Sleep(wait) //nolint:forbidigo // nothing may end this wait: the token is nowhere else
		wait = min(wait*2, storeWaitMax)
	}
}

// holding knows which connections have tokens in memory that no store has.
type holding struct {
	mu      sync.Mutex
	entries map[string]int
	idle    chan struct{}
}

func (h *holding) enter(id string) (leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.entries == nil {
		h.entries = map[string]int{}
	}
	if len(h.entries) == 0 {
		h.idle = make(chan struct{})
	}
	h.entries[id]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.entries[id]--; h.entries[id] == 0 {
			delete(h.entries, id)
		}
		if len(h.entries) == 0 {
			close(h.idle)
		}
	}
}

// Unstored returns how many connections have tokens in memory only. A process
// with any must not be stopped by force.
func (k *Keeper) Unstored() int {
	k.holding.mu.Lock()
	defer k.holding.mu.Unlock()
	return len(k.holding.entries)
}

// Wait returns when every token in hand is stored, or with an error when ctx
// ends first. A drain calls it after the last delivery was settled.
func (k *Keeper) Wait(ctx context.Context) error {
	for {
		k.holding.mu.Lock()
		idle, n := k.holding.idle, len(k.holding.entries)
		k.holding.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return fmt.Errorf("custody: tokens of %d connections not stored: %w", n, context.Cause(ctx))
		}
	}
}
