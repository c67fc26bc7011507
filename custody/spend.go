package custody

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// spend is one use of a code or of a refresh token.
type spend struct {
	id    string
	kind  string
	value secret.Text
	// earlier: a mark of a former attempt with the same value was found, so a
	// refusal now means that the former attempt's answer was lost.
	earlier bool
	call    func(ctx context.Context) (finx.Tokens, error)
	apply   func(rec *vaultstore.Record, t finx.Tokens)
	// moved reports whether somebody else stored the fruit of this value.
	moved    func(now vaultstore.Record) bool
	rejected error
	unknown  error
}

// spend runs the protocol of the package comment and returns the record as it
// stands afterwards.
func (k *Keeper) spend(ctx context.Context, s spend, rec vaultstore.Record, version vaultstore.Version) (vaultstore.Record, error) {
	leave, free := k.busy.enter(s.id)
	if !free {
		return rec, fault.Throttled("", time.Now().Add(time.Second), fmt.Errorf("custody: %s: this process is at work on the connection already", s.kind))
	}
	defer leave()
	hold := k.holding.enter()
	defer hold.leave()
	a, err := k.markAndCall(ctx, s, rec, version)
	if a.called && fault.IsAmbiguous(err) {
		k.cfg.Metrics.ambiguous(s.kind)
		k.cfg.Logger.WarnContext(ctx, "token call without an answer, trying the same value once more",
			"connection_id", s.id, "kind", s.kind, "error", err)
		now, at, readErr := k.read(ctx, s.id)
		if readErr != nil {
			return rec, errors.Join(readErr, err)
		}
		if s.moved(now) {
			return now, nil
		}
		s.earlier = true
		a, err = k.markAndCall(ctx, s, now, at)
	}
	switch {
	case err == nil:
		hold.tokens()
		return k.store(ctx, s, a.rec, a.version, a.tokens)
	case !a.called:
		return a.rec, err
	}
	return k.refused(ctx, s, a.rec, a.version, err)
}

// attempt is one mark and the call it announced.
type attempt struct {
	rec     vaultstore.Record // with the mark
	version vaultstore.Version
	called  bool // the call was made; an error before it has spent nothing
	tokens  finx.Tokens
}

// markAndCall writes the mark and makes the one call it announces, unless so
// much time went by in between that the mark may count as abandoned.
func (k *Keeper) markAndCall(ctx context.Context, s spend, rec vaultstore.Record, version vaultstore.Version) (attempt, error) {
	if err := cmp.Or(s.settled(rec), k.underWay(s.id, rec)); err != nil {
		return attempt{rec: rec}, err
	}
	rec, version, marked, err := k.mark(ctx, s.id, rec, version, s.kind, s.value)
	if err != nil {
		return attempt{rec: rec}, err
	}
	a := attempt{rec: rec, version: version}
	if late := elapsed(marked, time.Now()); late > callWithin {
		return a, fault.Transient(fault.Vault, fmt.Errorf("custody: %s: %s went by between mark and call", s.kind, late.Round(time.Millisecond)))
	}
	// From here on nothing but the limit ends the call: an answer that nobody
	// waits for is a token lost, whether the delivery ran out of time, the
	// process is stopping, or the lease is gone.
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), k.cfg.CallLimit, errCallLimit)
	defer cancel()
	a.called = true
	a.tokens, err = s.call(ctx)
	return a, err
}

var errCallLimit = errors.New("the token endpoint took longer than the limit for one call")

// refused decides what a failed call means and takes the mark away where the
// call is known to have spent nothing.
func (k *Keeper) refused(ctx context.Context, s spend, rec vaultstore.Record, version vaultstore.Version, err error) (vaultstore.Record, error) {
	switch {
	case errors.Is(err, finx.ErrInvalidGrant):
		now, at, readErr := k.read(ctx, s.id)
		if readErr != nil {
			return rec, errors.Join(readErr, err)
		}
		if s.moved(now) {
			return now, nil
		}
		if busyErr := k.underWay(s.id, now); busyErr != nil {
			// Overtaken: whoever marked after us may just be getting the answer
			// whose refusal we hold.
			return now, busyErr
		}
		outcome, word := s.rejected, outcomeRejected
		if s.earlier {
			outcome, word = s.unknown, outcomeUnknown
		}
		k.settle(ctx, s, word, now, at)
		k.cfg.Metrics.settled(s.kind, outcome)
		return now, fmt.Errorf("%w: %w", outcome, err)
	case fault.IsAmbiguous(err):
		// The mark stays: whoever comes next must know that this value may be spent.
		return rec, fmt.Errorf("custody: %s without an answer: %w", s.kind, err)
	default:
		if !s.earlier {
			k.unmark(ctx, s.id, rec, version)
		}
		return rec, fmt.Errorf("custody: %s: %w", s.kind, err)
	}
}
