package custody

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/crashpoint"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/retry"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// spend is one use of a code or of a refresh token.
type spend struct {
	id       string
	kind     string
	sha256   string // of the value
	rotation int    // of the record that it is spent from
	base     string // that record's CodeSHA256: which consent its tokens came from
	call     func(ctx context.Context) (finx.Tokens, error)
}

// apply puts the answer into the record.
func (s spend) apply(rec *vaultstore.Record, t finx.Tokens) {
	rec.Earlier = marksAfter(*rec, s)
	applyTokens(rec, t)
	if s.kind == kindExchange {
		rec.CodeSHA256 = s.sha256
	}
}

// moved reports whether somebody else stored the fruit of this value.
func (s spend) moved(now vaultstore.Record) bool {
	if s.kind == kindExchange {
		return now.CodeSHA256 == s.sha256
	}
	return now.Rotation > s.rotation
}

// superseded reports whether an answer in hand need not be stored any more,
// because what is stored is at least as new. Of two answers to the same value
// the one that was received later counts: a host that answers a repetition with
// another pair may have withdrawn the first.
func (s spend) superseded(now vaultstore.Record, t finx.Tokens) bool {
	switch {
	case s.kind == kindRefresh && now.CodeSHA256 != s.base:
		return true // the user has renewed the access since
	case now.Rotation < s.rotation:
		return now.CodeSHA256 != s.base // erased and made anew; else Vault was set back to a backup
	case s.kind == kindExchange && now.CodeSHA256 != s.sha256:
		// Another code came later. Refreshes of the tokens before count for nothing:
		// they are of the consent that this code replaces.
		return now.CodeSHA256 != s.base
	case now.Rotation == s.rotation:
		return s.kind == kindRefresh && now.RefreshToken.SHA256() != s.sha256
	case s.kind == kindRefresh && now.Rotation > s.rotation+1:
		return true // the fruit was spent on
	}
	return t.RefreshToken.IsZero() || t.RefreshToken == now.RefreshToken || !t.ReceivedAt.After(now.RefreshObtainedAt)
}

// rejected is the end when finX refuses a value that nobody spent before.
func (s spend) rejected() error {
	if s.kind == kindExchange {
		return ErrCodeRejected
	}
	return ErrRefreshRejected
}

// unknown is the end when an earlier call spent the value and its answer was lost.
func (s spend) unknown() error {
	if s.kind == kindExchange {
		return ErrExchangeUnknown
	}
	return ErrRotationUnknown
}

// spend runs the protocol of the package comment and returns the record as it
// stands afterwards.
func (k *Keeper) spend(ctx context.Context, s spend, rec vaultstore.Record, version vaultstore.Version) (vaultstore.Record, error) {
	leave, free := k.busy.enter(s.id)
	if !free {
		return rec, k.atWork(s.kind)
	}
	defer leave()
	hold, open := k.holding.enter()
	if !open {
		return rec, fault.Transient("", fmt.Errorf("custody: %s: the process is stopping", s.kind))
	}
	defer hold.leave()
	crashpoint.Reached(s.kind + crashpoint.Locked)
	if now, home, err := k.broughtHome(ctx, s, rec); home || err != nil {
		return now, err
	}
	// A refusal now would mean that the former attempt's answer was lost.
	earlier := isOpen(rec, s.kind, s.sha256) && !k.uncalled.take(s.id, markOf(rec, s.kind, s.sha256))
	if err := cmp.Or(s.settled(rec), k.underWay(s.id, rec)); err != nil {
		return rec, err
	}
	if earlier && k.cfg.Replay == ReplayNever {
		return rec, k.lost(ctx, s, rec, version)
	}
	with, err := k.keys.ready(ctx)
	if err != nil {
		return rec, err
	}
	return k.callAndStore(ctx, s, journal{rec, version, earlier}, hold, with)
}

// journal is a record as it stands before a call, and whether it tells of an
// earlier call with the same value whose answer nobody has.
type journal struct {
	rec     vaultstore.Record
	version vaultstore.Version
	earlier bool
}

// callAndStore spends the value, once more if there is no answer, and stores the
// answer.
func (k *Keeper) callAndStore(ctx context.Context, s spend, j journal, hold *hold, with *sealingKey) (vaultstore.Record, error) {
	a, err := k.markAndCall(ctx, s, j.rec, j.version)
	if a.called && fault.IsAmbiguous(err) {
		now, at, readErr := k.unanswered(ctx, s, err)
		switch {
		case readErr != nil:
			return j.rec, readErr
		case s.moved(now):
			return now, nil
		}
		if home, found, err := k.broughtHome(ctx, s, now); found || err != nil {
			return home, err
		}
		if k.cfg.Replay == ReplayNever {
			return now, k.lost(ctx, s, now, at)
		}
		j.earlier = true
		if a, err = k.again(ctx, s, now, at); !a.called {
			return a.rec, err
		}
	}
	switch {
	case err == nil:
		crashpoint.Reached(s.kind + crashpoint.Received)
		hold.tokens()
		return k.store(ctx, s, hold, a, with)
	case !a.called:
		return a.rec, err
	}
	return k.refused(ctx, s, a, j.earlier, err)
}

// broughtHome is leftBehind for a caller that is at work on s: the answer to
// another value is no success, and what there is to do now, a new look decides.
func (k *Keeper) broughtHome(ctx context.Context, s spend, rec vaultstore.Record) (vaultstore.Record, bool, error) {
	now, home, err := k.leftBehind(ctx, s, rec)
	if home && err == nil && !s.moved(now) {
		err = k.atWork(s.kind)
	}
	return now, home, err
}

// unanswered notes a call without an answer and reads the record again: somebody
// may have stored the fruit of the same value.
func (k *Keeper) unanswered(ctx context.Context, s spend, err error) (vaultstore.Record, vaultstore.Version, error) {
	k.cfg.Metrics.ambiguous(s.kind)
	k.cfg.Logger.WarnContext(ctx, "token call without an answer", "connection_id", s.id, "kind", s.kind, "error", err)
	now, at, readErr := k.read(ctx, s.id)
	crashpoint.Reached(s.kind + crashpoint.Ambiguous)
	if readErr != nil {
		return now, at, errors.Join(readErr, err)
	}
	return now, at, nil
}

// again spends the same value once more, unless the record says by now that
// somebody else is at it.
func (k *Keeper) again(ctx context.Context, s spend, rec vaultstore.Record, version vaultstore.Version) (attempt, error) {
	if err := cmp.Or(s.settled(rec), k.underWay(s.id, rec)); err != nil {
		return attempt{rec: rec}, err
	}
	return k.markAndCall(ctx, s, rec, version)
}

// atWork is the answer to a second caller of this process.
func (k *Keeper) atWork(kind string) error {
	return fault.Throttled("", time.Now().Add(time.Second), fmt.Errorf("custody: %s: this process is at work on the connection already", kind))
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
	rec, version, marked, err := k.mark(ctx, s, rec, version)
	if err != nil {
		k.uncalled.note(s.id, rec.Pending)
		return attempt{rec: rec}, err
	}
	crashpoint.Reached(s.kind + crashpoint.Marked)
	a := attempt{rec: rec, version: version}
	if late := elapsed(marked, time.Now()); late > callWithin {
		k.uncalled.note(s.id, rec.Pending)
		return a, fault.Transient(fault.Vault, fmt.Errorf("custody: %s: %s went by between mark and call", s.kind, late.Round(time.Millisecond)))
	}
	// From here on nothing but the limit ends the call: an answer that nobody
	// waits for is a token lost, whether the delivery ran out of time, the
	// process is stopping, or the lease is gone.
	ctx, cancel := retry.Within(context.WithoutCancel(ctx), k.cfg.CallLimit+callSlack, errCallLimit)
	defer cancel()
	a.called = true
	a.tokens, err = s.call(ctx)
	// A process that was stopped reads its answer late. Others may have called since,
	// but not before this: of two answers to one value the later counts.
	if over := marked.Add(callWithin + k.cfg.CallLimit + callSlack).Round(0); a.tokens.ReceivedAt.Round(0).After(over) {
		a.tokens.ReceivedAt = over
	}
	return a, err
}

var errCallLimit = errors.New("the token endpoint took longer than the limit for one call")

// refused decides what a failed call means and takes the mark away where the
// call is known to have spent nothing.
func (k *Keeper) refused(ctx context.Context, s spend, a attempt, earlier bool, err error) (vaultstore.Record, error) {
	switch {
	case errors.Is(err, finx.ErrInvalidGrant):
		crashpoint.Reached(s.kind + crashpoint.Refused)
		return k.triage(ctx, s, a.rec, earlier, err)
	case fault.IsAmbiguous(err):
		// The mark stays: whoever comes next must know that this value may be spent.
		return a.rec, fmt.Errorf("custody: %s without an answer: %w", s.kind, err)
	default:
		if !earlier {
			k.unmark(ctx, s.id, a.rec, a.version)
		}
		return a.rec, fmt.Errorf("custody: %s: %w", s.kind, err)
	}
}

// triage decides what it means that finX refused the value: somebody was
// faster, an earlier answer was lost, or the access was taken back.
func (k *Keeper) triage(ctx context.Context, s spend, rec vaultstore.Record, earlier bool, err error) (vaultstore.Record, error) {
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
	outcome, word := s.rejected(), outcomeRejected
	if earlier {
		// Whoever got the answer may have brought it into escrow by now.
		if home, found, err := k.broughtHome(ctx, s, now); found || err != nil {
			return home, err
		}
		outcome, word = s.unknown(), outcomeUnknown
	}
	if conflict := k.settle(ctx, s, word, now, at); conflict != nil {
		return now, conflict
	}
	k.cfg.Metrics.settled(s.kind, outcome)
	crashpoint.Reached(s.kind + crashpoint.Settled)
	return now, fmt.Errorf("%w: %w", outcome, err)
}
