package custody

import (
	"context"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// Resolve takes an open mark of a connection to its end: the answer is found in
// escrow, or the refresh token is spent once more. The code of an exchange is
// not known here; its callback brings it again for as long as it lives, which is
// codeLifetime, and after that the outcome is unknown.
//
// nil means that nothing is open, or that tokens are stored. ErrRotationUnknown,
// ErrRefreshRejected, ErrExchangeUnknown and ErrCodeRejected are ends, also of
// earlier, that must be announced unless they have been. Any other error carries
// the verdict to try again; for a call that may be under way, with the time.
func (k *Keeper) Resolve(ctx context.Context, id string, codeLifetime time.Duration) error {
	rec, _, err := k.read(ctx, id)
	if err != nil {
		return err
	}
	if markOf(rec, kindRefresh, rec.RefreshToken.SHA256()) != nil {
		if _, err := k.refresh(ctx, id, rec.AccessToken); err != nil {
			return err
		}
	}
	for _, m := range marks(rec) {
		if m.Kind == kindExchange {
			if err := k.resolveExchange(ctx, id, m.SHA256, codeLifetime); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *Keeper) resolveExchange(ctx context.Context, id, sha256 string, codeLifetime time.Duration) error {
	held, release, err := k.cfg.Lock(ctx, lockOf(id))
	if err != nil {
		return fmt.Errorf("custody: locking the tokens: %w", err)
	}
	defer release()
	rec, version, err := k.read(held, id)
	if err != nil {
		return err
	}
	mark := markOf(rec, kindExchange, sha256)
	if mark == nil {
		return nil
	}
	s := spend{id: id, kind: kindExchange, sha256: sha256, rotation: rec.Rotation, base: rec.CodeSHA256}
	if err := s.settled(rec); err != nil {
		return err
	}
	if _, home, err := k.leftBehind(held, s, rec); home || err != nil {
		return err
	}
	if err := k.underWay(id, rec); err != nil {
		return err
	}
	if until := mark.StartedAt.Add(codeLifetime); time.Now().Before(until) {
		return fault.Throttled("", until, fmt.Errorf("custody: %s: its callback may come again until the code is dead", s.kind))
	}
	leave, free := k.busy.enter(id)
	if !free {
		return k.atWork(kindExchange)
	}
	defer leave()
	return k.lost(held, s, rec, version)
}

// lost ends a spending whose answer will not come any more.
func (k *Keeper) lost(ctx context.Context, s spend, rec vaultstore.Record, version vaultstore.Version) error {
	if conflict := k.settle(ctx, s, outcomeUnknown, rec, version); conflict != nil {
		return conflict
	}
	k.cfg.Metrics.settled(s.kind, s.unknown())
	return fmt.Errorf("%w: the answer to an earlier call was lost", s.unknown())
}

// Reconsider forgets that finX refused the refresh token, so that it is asked
// once more: a user who renewed the access at the bank has changed the facts. An
// outcome that is unknown stays so; that token is spent.
func (k *Keeper) Reconsider(ctx context.Context, id string) error {
	rec, version, err := k.read(ctx, id)
	if err != nil || rec.Pending == nil || rec.Pending.Kind != kindRefresh || rec.Pending.Outcome != outcomeRejected {
		return err
	}
	rec.Pending = nil
	if _, err := k.cfg.Secrets.Put(ctx, id, rec, version); err != nil {
		return fmt.Errorf("custody: forgetting a refusal: %w", err)
	}
	return nil
}
