package custody

import (
	"context"
	"errors"
	"fmt"

	"github.com/finx-connector/finx-connector/internal/crashpoint"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// Homecoming is what one call of BringHome did.
type Homecoming struct {
	Stored     int // answers that are in Vault now
	Stale      int // answers that Vault had already, or that a later one overtook
	Waiting    int // answers that are in escrow still
	Unreadable int // of the waiting, those that no key opens
}

// BringHome stores what is in escrow and in the spool, whichever process left
// it there. It needs no lock: an answer that has been given is to be stored,
// whoever does it, and check-and-set keeps a later one from being overwritten.
// Answers that this process is at work on are left alone. The error says why
// answers are waiting; the others have been seen to all the same.
func (k *Keeper) BringHome(ctx context.Context) (Homecoming, error) {
	var home Homecoming
	var errs []error
	seen := map[string]bool{}
	for _, b := range k.cfg.Escrow.buckets() {
		keys, err := b.Keys(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("custody: listing the escrow: %w", err))
		}
		for _, key := range keys {
			if seen[key] {
				continue
			}
			seen[key] = true
			if err := k.bringHome(ctx, key, &home); err != nil {
				home.Waiting++
				errs = append(errs, err)
			}
		}
	}
	k.cfg.Metrics.home(home)
	return home, errors.Join(errs...)
}

func (k *Keeper) bringHome(ctx context.Context, key string, home *Homecoming) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("custody: bringing an answer home: %w", context.Cause(ctx))
	}
	id, sha256 := connectionOf(key)
	leave, free := k.busy.enter(id)
	if !free {
		home.Waiting++
		return nil
	}
	defer leave()
	a, found, err := k.recall(ctx, id, sha256)
	switch {
	case err != nil && !waits(err):
		return err
	case !found:
		// It was brought home meanwhile, or it does not open.
		if still, err := k.isKept(ctx, key); err != nil || !still {
			return err
		}
		home.Waiting++
		home.Unreadable++
		return nil
	}
	_, stored, err := k.storeAnswer(ctx, a)
	switch {
	case err != nil:
		return err
	case stored:
		home.Stored++
	default:
		home.Stale++
	}
	return nil
}

// waits reports whether there is an answer that this process cannot open, and somebody
// may yet.
func waits(err error) bool { return errors.Is(err, errKeyAway) || errors.Is(err, errNewer) }

func (k *Keeper) isKept(ctx context.Context, key string) (bool, error) {
	for _, b := range k.cfg.Escrow.buckets() {
		if _, found, err := b.Get(ctx, key); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// homeTries bounds how often an answer is put on top of a record that moves.
const homeTries = 5

// storeAnswer stores an answer that an earlier process received, unless it is
// out of date, and takes its copies away. It returns the record as it stands.
func (k *Keeper) storeAnswer(ctx context.Context, a answer) (rec vaultstore.Record, stored bool, err error) {
	s := spend{id: a.id, kind: a.kind, sha256: a.sha256, rotation: a.rotation, base: a.base}
	for try := 1; ; try++ {
		rec, version, err := k.cfg.Secrets.Get(ctx, a.id)
		switch {
		case errors.Is(err, vaultstore.ErrNotFound) || err == nil && s.superseded(rec, a.tokens):
			// A connection without a secret was erased: its tokens must not come back.
			k.takeAway(ctx, escrowKey(a.id, a.sha256), k.cfg.Escrow.buckets())
			return rec, false, nil
		case err != nil:
			return rec, false, fmt.Errorf("custody: bringing an answer home: %w", err)
		}
		next := rec
		s.apply(&next, a.tokens)
		_, err = k.cfg.Secrets.Put(ctx, a.id, next, version)
		if errors.Is(err, vaultstore.ErrConflict) && try < homeTries {
			continue
		}
		if err != nil {
			return rec, false, fmt.Errorf("custody: bringing an answer home: %w", err)
		}
		crashpoint.Reached(crashpoint.HomeStored)
		k.cfg.Metrics.settled(a.kind, nil)
		k.cfg.Logger.InfoContext(ctx, "tokens that a former process left in escrow are in Vault", "connection_id", a.id, "kind", a.kind, "former", a.holder)
		k.takeAway(ctx, escrowKey(a.id, a.sha256), k.cfg.Escrow.buckets())
		return next, true, nil
	}
}

// leftBehind looks for the answers to values whose marks are open, before a value
// is spent and before its end is called unknown: of this value and of others,
// because a refresh must not bury a renewal's code. Marks of this process count
// too: another one may have got the answer to the same value.
func (k *Keeper) leftBehind(ctx context.Context, s spend, rec vaultstore.Record) (vaultstore.Record, bool, error) {
	for _, m := range marks(rec) {
		if m.Outcome != "" {
			continue
		}
		ours := m.SHA256 == s.sha256
		a, found, err := k.recall(ctx, s.id, m.SHA256)
		if !ours && waits(err) {
			continue // it keeps its claim, whatever comes of this value
		}
		if err != nil {
			return rec, false, err
		}
		if !found {
			continue
		}
		now, stored, err := k.storeAnswer(ctx, a)
		if err != nil {
			return rec, false, err
		}
		if !ours && !stored {
			continue // out of date, and perhaps not to be deleted
		}
		if !stored && !s.moved(now) {
			return rec, false, fault.Transient("", fmt.Errorf("custody: %s: the record moved while an answer was brought home", s.kind))
		}
		return now, true, nil
	}
	return rec, false, nil
}

// PrepareEscrow fetches the first data key, so that an operator learns at the
// start whether answers can be sealed, and reports why they cannot. nil with no
// escrow configured.
func (k *Keeper) PrepareEscrow(ctx context.Context) error {
	if _, err := k.keys.ready(ctx); err != nil {
		return err
	}
	return k.keys.problem()
}

// EscrowReady reports whether a key to seal with is at hand.
func (k *Keeper) EscrowReady() bool { return k.keys.atHand() }
