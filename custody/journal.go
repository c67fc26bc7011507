package custody

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	if former := markOf(rec, s.kind, s.sha256); former != nil && former.Outcome == "" {
		attempt = former.Attempt + 1
	}
	rec.Earlier = marksBeside(rec, s)
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

// maxNoted bounds what is remembered of marks beside the marks themselves.
const maxNoted = 10_000

// early remembers when marks from the future were seen first.
type early struct {
	mu    sync.Mutex
	marks map[string]sighting
}

type sighting struct{ mark, seen time.Time }

func (e *early) first(id string, mark, now time.Time) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.marks == nil || len(e.marks) == maxNoted {
		e.marks = map[string]sighting{} // forgetting makes somebody wait a little longer
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
func (k *Keeper) settle(ctx context.Context, s spend, outcome string, rec vaultstore.Record, version vaultstore.Version) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bookkeeping)
	defer cancel()
	mark := vaultstore.Pending{Kind: s.kind, Holder: k.cfg.Holder, StartedAt: time.Now().UTC(), Attempt: 1, SHA256: s.sha256}
	if former := markOf(rec, s.kind, s.sha256); former != nil {
		mark = *former
	}
	rec.Earlier = marksBeside(rec, s)
	mark.Outcome = outcome
	rec.Pending = &mark
	_, err := k.cfg.Secrets.Put(ctx, s.id, rec, version)
	switch {
	case errors.Is(err, vaultstore.ErrConflict):
		// Somebody wrote since the look that decided this: perhaps the very answer.
		return fault.Throttled("", time.Now().Add(time.Second), fmt.Errorf("custody: %s: keeping its outcome: %w", s.kind, err))
	case err != nil:
		k.cfg.Logger.WarnContext(ctx, "outcome not kept with its mark", "connection_id", s.id, "kind", s.kind, "error", err)
	}
	return nil
}

// uncalled remembers marks of this process whose call was never made, or may
// have been made by nobody: the first of their value.
type uncalled struct {
	mu    sync.Mutex
	marks map[string]vaultstore.Pending
}

func (u *uncalled) note(id string, p *vaultstore.Pending) {
	if p == nil || p.Attempt != 1 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.marks == nil || len(u.marks) == maxNoted {
		u.marks = map[string]vaultstore.Pending{} // forgetting costs a question more, nothing else
	}
	u.marks[id] = *p
}

// take reports whether p is such a mark, and forgets it.
func (u *uncalled) take(id string, p *vaultstore.Pending) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	own, ok := u.marks[id]
	delete(u.marks, id)
	return ok && p != nil && p.Holder == own.Holder && p.StartedAt.Equal(own.StartedAt)
}

// settled returns the error that the spending of this value ended with before.
func (s spend) settled(rec vaultstore.Record) error {
	mark := markOf(rec, s.kind, s.sha256)
	switch {
	case mark == nil:
		return nil
	case mark.Outcome == outcomeRejected:
		return s.rejected()
	case mark.Outcome == outcomeUnknown:
		return s.unknown()
	}
	return nil
}

// isOpen reports whether rec carries the mark of an earlier attempt to spend
// the same value.
func isOpen(rec vaultstore.Record, kind, sha256 string) bool {
	mark := markOf(rec, kind, sha256)
	return mark != nil && mark.Outcome == ""
}

// marks returns the marks of a record, the newest first.
func marks(rec vaultstore.Record) []vaultstore.Pending {
	if rec.Pending == nil {
		return rec.Earlier
	}
	return append([]vaultstore.Pending{*rec.Pending}, rec.Earlier...)
}

// markOf returns the mark of a value, open or settled; nil when there is none.
func markOf(rec vaultstore.Record, kind, sha256 string) *vaultstore.Pending {
	for _, m := range marks(rec) {
		if m.Kind == kind && m.SHA256 == sha256 {
			return &m
		}
	}
	return nil
}

// marksKept bounds the marks of other values in a record.
const marksKept = 4

// marksBeside returns the marks of other values that must not be forgotten
// while s is at work: a code whose end is not known must not be told as refused,
// nor sent again, because a refresh came in between.
func marksBeside(rec vaultstore.Record, s spend) []vaultstore.Pending {
	var kept []vaultstore.Pending
	for _, m := range marks(rec) {
		same := m.Kind == s.kind && m.SHA256 == s.sha256
		if !same && m.Outcome != outcomeRejected && len(kept) < marksKept {
			kept = append(kept, m)
		}
	}
	return kept
}

// marksAfter returns the marks that outlive new tokens: those of codes. A mark of
// a refresh token is about one that the new tokens replace.
func marksAfter(rec vaultstore.Record, s spend) []vaultstore.Pending {
	return slices.DeleteFunc(marksBeside(rec, s), func(m vaultstore.Pending) bool { return m.Kind == kindRefresh })
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
