package custody

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/vaultstore"
)

const (
	// bookkeeping bounds writes that follow a failure and run on a clock of their own.
	bookkeeping = 10 * time.Second
	// callWithin is how soon after its mark a call must begin: longer than Vault
	// may take to write the mark. A process that was stopped in between, for
	// however long, finds its time gone and calls nobody: by then another replica
	// may have taken over.
	callWithin = 6 * time.Second
	// callSlack is how much longer than its limit a call may go on, for the client
	// that keeps the limit to say so itself.
	callSlack = time.Second
	// defaultClockSkew is how far the clocks of two replicas may be apart, unless
	// the configuration says otherwise.
	defaultClockSkew = 5 * time.Second
)

// errUnderWay: another process has marked a call and may still be making it.
var errUnderWay = errors.New("a call of another process may be under way")

// mark writes the journal entry that must precede every call that spends
// something, and returns when it was made. The write proves that Vault takes
// writes now, and that nobody else got in between.
func (k *Keeper) mark(ctx context.Context, s spend, rec vaultstore.Record, version vaultstore.Version) (vaultstore.Record, vaultstore.Version, time.Time, error) {
	attempt := 1
	if isOpen(rec, s.kind, s.sha256) {
		attempt = rec.Pending.Attempt + 1
	}
	// The clock starts before the write: the time others grant us starts later.
	now := time.Now()
	rec.Pending = &vaultstore.Pending{
		Kind: s.kind, Holder: k.cfg.Holder, StartedAt: now.UTC(),
		Attempt: attempt, SHA256: s.sha256,
	}
	next, err := k.cfg.Secrets.Put(ctx, s.id, rec, version)
	if errors.Is(err, vaultstore.ErrConflict) {
		// Somebody else is at work on this connection; what they leave behind
		// decides what is to be done.
		return rec, 0, now, fault.Throttled("", now.Add(time.Second), fmt.Errorf("custody: marking the %s: %w", s.kind, err))
	}
	if err != nil {
		return rec, 0, now, fmt.Errorf("custody: marking the %s: %w", s.kind, err)
	}
	return rec, next, now, nil
}

// underWay reports a mark of another process that is so young that its call may
// still be on the wire. Spending the same value beside it is what makes a
// provider with reuse detection revoke everything, so it is waited for. Marks of
// this process are known to be over: busy says so.
func (k *Keeper) underWay(id string, rec vaultstore.Record) error {
	p := rec.Pending
	if p == nil || p.Outcome != "" || p.Holder == k.cfg.Holder {
		return nil
	}
	now, started := time.Now(), p.StartedAt
	if started.Sub(now) > k.cfg.ClockSkew {
		// A clock that is far ahead must not lock the connection for days: the
		// mark counts from when this process saw it first.
		started = k.early.first(id, started, now)
	}
	over := started.Add(k.cfg.CallLimit + callSlack + callWithin + k.cfg.ClockSkew)
	if now.After(over) {
		return nil
	}
	return fault.Throttled("", over, fmt.Errorf("custody: %s: %w", p.Kind, errUnderWay))
}

// early remembers when marks from the future were seen first.
type early struct {
	mu    sync.Mutex
	marks map[string]sighting
}

type sighting struct{ mark, seen time.Time }

func (e *early) first(id string, mark, now time.Time) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.marks == nil {
		e.marks = map[string]sighting{}
	}
	if known, ok := e.marks[id]; ok && known.mark.Equal(mark) {
		return known.seen
	}
	e.marks[id] = sighting{mark, now}
	return now
}

// elapsed is the time between two readings of this process's clock, by the wall
// or by the monotonic clock, whichever saw more: the one stands still while a
// virtual machine is paused, the other may be set back.
func elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

// unmark takes the journal entry away after a call that is known to have spent
// nothing. A failure here is harmless: the mark makes the next attempt more
// careful, not wrong.
func (k *Keeper) unmark(ctx context.Context, id string, rec vaultstore.Record, version vaultstore.Version) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bookkeeping)
	defer cancel()
	rec.Pending = nil
	if _, err := k.cfg.Secrets.Put(ctx, id, rec, version); err != nil {
		k.cfg.Logger.WarnContext(ctx, "journal mark left open", "connection_id", id, "error", err)
	}
}

// The outcomes that are kept with a mark.
const (
	outcomeRejected = "rejected"
	outcomeUnknown  = "unknown"
)

// settle writes into the mark how the spending of its value ended, so that a
// redelivery, here or elsewhere, comes to the same end without asking finX again.
// A failure here costs one more question, whose answer may be told less exactly.
func (k *Keeper) settle(ctx context.Context, s spend, outcome string, rec vaultstore.Record, version vaultstore.Version) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bookkeeping)
	defer cancel()
	mark := vaultstore.Pending{Kind: s.kind, Holder: k.cfg.Holder, StartedAt: time.Now().UTC(), Attempt: 1, SHA256: s.sha256}
	if isAbout(rec, s.kind, s.sha256) {
		mark = *rec.Pending
	}
	mark.Outcome = outcome
	rec.Pending = &mark
	if _, err := k.cfg.Secrets.Put(ctx, s.id, rec, version); err != nil {
		k.cfg.Logger.WarnContext(ctx, "outcome not kept with its mark", "connection_id", s.id, "kind", s.kind, "error", err)
	}
}

// settled returns the error that the spending of this value ended with before.
func (s spend) settled(rec vaultstore.Record) error {
	if !isAbout(rec, s.kind, s.sha256) {
		return nil
	}
	switch rec.Pending.Outcome {
	case outcomeRejected:
		return s.rejected()
	case outcomeUnknown:
		return s.unknown()
	}
	return nil
}

// isOpen reports whether rec carries the mark of an earlier attempt to spend
// the same value.
func isOpen(rec vaultstore.Record, kind, sha256 string) bool {
	return isAbout(rec, kind, sha256) && rec.Pending.Outcome == ""
}

// isAbout reports whether the mark in rec, open or settled, is of this value.
func isAbout(rec vaultstore.Record, kind, sha256 string) bool {
	return rec.Pending != nil && rec.Pending.Kind == kind && rec.Pending.SHA256 == sha256
}

// busy knows which connections this process is spending for.
type busy struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

// enter returns false when this process is at work on the connection already.
func (b *busy) enter(id string) (leave func(), ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, at := b.ids[id]; at {
		return nil, false
	}
	if b.ids == nil {
		b.ids = map[string]struct{}{}
	}
	b.ids[id] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.ids, id)
	}, true
}
