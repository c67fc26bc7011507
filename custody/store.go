package custody

import (
	"context"
	"errors"
	"fmt"
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
				if s.moved(now) {
					return now, nil // somebody stored the fruit of this very value
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
