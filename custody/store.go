package custody

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/internal/crashpoint"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// How long to wait between two tries to store tokens that finX has handed out.
const (
	storeWaitFirst = 100 * time.Millisecond
	storeWaitMax   = 5 * time.Second
)

// store writes an answer of finX into the connection's secret. There is no
// deadline and no cancellation: from here on the newest refresh token is in this
// process, so it tries until Vault takes it. Meanwhile sealed copies of it see to
// it that it outlives the process. The only error is that of tokens too large
// for any Vault.
func (k *Keeper) store(ctx context.Context, s spend, h *hold, a attempt, with *sealingKey) (vaultstore.Record, error) {
	ctx = context.WithoutCancel(ctx)
	c := k.keep(ctx, s, h, with, a.tokens)
	late := time.AfterFunc(escrowAfter, func() { c.escrow(ctx) })
	rec, err := k.storeUntilTaken(ctx, s, a, c)
	late.Stop()
	if err == nil { // else a Vault that takes larger records may get it yet
		c.forget(ctx)
	}
	return rec, err
}

func (k *Keeper) storeUntilTaken(ctx context.Context, s spend, a attempt, c *copies) (vaultstore.Record, error) {
	rec, version, wait := a.rec, a.version, storeWaitFirst
	for try := 1; ; try++ {
		next := rec
		s.apply(&next, a.tokens)
		_, err := k.cfg.Secrets.Put(ctx, s.id, next, version)
		switch {
		case err == nil:
			crashpoint.Reached(s.kind + crashpoint.Stored)
			k.cfg.Metrics.settled(s.kind, nil)
			return next, nil
		case errors.Is(err, vaultstore.ErrConflict):
			now, at, readErr := k.read(ctx, s.id)
			if readErr == nil {
				if at == 0 || s.superseded(now, a.tokens) { // 0: erased, since the mark was there
					return now, nil // somebody stored the fruit of this very value, or a later one
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
			k.cfg.Metrics.settled(s.kind, s.unknown())
			return rec, fmt.Errorf("custody: storing the tokens of the %s: %w", s.kind, err)
		}
		c.escrow(ctx)
		k.cfg.Metrics.storeRetried()
		k.cfg.Logger.ErrorContext(ctx, "tokens in hand cannot be stored, trying on",
			"connection_id", s.id, "kind", s.kind, "try", try, "error", err)
		time.Sleep(wait) //nolint:forbidigo // nothing may end this wait: the token is nowhere else
		wait = min(wait*2, storeWaitMax)
	}
}
