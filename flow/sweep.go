package flow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

const (
	lockSweep = "sweep"
	// sweepPause is when the sweep looks again at a connection that could not be
	// looked at, and how long it rests when finX or Vault is away.
	sweepPause = time.Minute
	// sweepTries is how often one sweep asks for the same connection.
	sweepTries = 100
	// sweepHold is how many ids a sweep holds at a time: 16 MB. A million is also
	// what one list of Vault brings within seconds.
	sweepHold = 1_000_000
)

// Sweep reads every secret and takes each call that was begun and never ended
// to its end: the process that began it may have died, and nobody else may ever
// ask for that connection. Ends are announced as the event at hand would have
// announced them. One replica at a time does it; the others return at once.
//
// A mark that is too young to be judged is looked at again when it is old
// enough; while finX or Vault is away the sweep rests. It returns when all marks
// have come to their end. When ctx ends or the lock is lost before, the next
// sweep of this process begins where this one stopped.
func (f *Flow) Sweep(ctx context.Context) error {
	if f.Background.SweepRate == 0 {
		return nil
	}
	mine := false
	err := f.alone(ctx, lockSweep, func(held context.Context) error {
		mine = true
		return f.sweepAll(held)
	})
	if err == nil && !mine && f.Background.OpenMarks != nil {
		f.Background.OpenMarks(0) // whoever sweeps counts them; what a sweep cut off here had seen may have ended since
	}
	return err
}

func (f *Flow) sweepAll(held context.Context) (err error) {
	s := &sweep{Flow: f, every: time.Duration(float64(time.Second) / f.Background.SweepRate)}
	defer func() {
		if err != nil {
			s.leaveOff()
		}
	}()
	for more := true; more; {
		ids, beyond, err := f.inventory(held, f.sweepPos.get(), sweepHold)
		if err != nil {
			return fmt.Errorf("flow: listing the secrets: %w", err)
		}
		for _, id := range ids {
			f.sweepPos.set(id)
			if err := s.one(held, id.String(), 1); err != nil {
				return err
			}
		}
		if more = beyond != (connectionID{}); more {
			f.sweepPos.set(beyond)
		}
	}
	if err := s.again(held); err != nil {
		return err
	}
	f.sweepPos.set(connectionID{})
	f.leftOpen.Store(int64(s.left))
	s.tell()
	f.Metrics.finished(dutySweep)
	return nil
}

// sweep is one run over all secrets.
type sweep struct {
	*Flow
	every time.Duration
	later []postponed
	left  int // to the next sweep
	signs int // failures of finX or Vault in a row
}

// tell says how many token calls are open as far as is known. What the sweep before
// left counts until this one has ended: it may not have come by there yet.
func (s *sweep) tell() {
	if s.Background.OpenMarks != nil {
		s.Background.OpenMarks(max(len(s.later)+s.left, int(s.leftOpen.Load())))
	}
}

// leaveOff makes the next sweep of this process begin with the first connection that
// was not taken to its end.
func (s *sweep) leaveOff() {
	next := s.sweepPos.get()
	for _, p := range s.later {
		if id, err := parseConnectionID(p.id); err == nil && bytes.Compare(id[:], next[:]) < 0 {
			next = id
		}
	}
	s.sweepPos.set(next)
}

// postponed is a connection to be looked at again.
type postponed struct {
	id  string
	at  time.Time
	try int
}

// one takes one connection to its end, or notes when to try again. The error is
// that of ctx.
func (s *sweep) one(ctx context.Context, id string, try int) error {
	if err := pause(ctx, s.every); err != nil {
		return err
	}
	err := s.resolve(ctx, id)
	defer s.tell()
	if ctx.Err() != nil {
		return fmt.Errorf("flow: sweeping: %w", context.Cause(ctx))
	}
	if err == nil {
		s.signs = 0
		return nil
	}
	if fault.Of(err) == fault.GiveUp || try == sweepTries {
		s.left++
		s.Logger.ErrorContext(ctx, "open token call left to the next sweep", "connection_id", id, "error", err)
		return nil
	}
	at, ok := fault.Until(err)
	if !ok {
		at = time.Now().Add(sweepPause)
	}
	s.later = append(s.later, postponed{id, at, try + 1})
	if fault.DependencyOf(err) == "" {
		return nil // too young, or somebody is at work on it
	}
	if s.signs++; s.signs < outageSigns {
		return nil
	}
	s.Logger.WarnContext(ctx, "sweep rests", "connection_id", id, "error", err)
	return pause(ctx, sweepPause)
}

// again looks at what was postponed until nothing is.
func (s *sweep) again(ctx context.Context) error {
	for len(s.later) > 0 {
		slices.SortFunc(s.later, func(a, b postponed) int { return a.at.Compare(b.at) })
		next := s.later[0]
		if err := pause(ctx, time.Until(next.at)); err != nil {
			return err
		}
		s.later = s.later[1:]
		if err := s.one(ctx, next.id, next.try); err != nil {
			s.later = append(s.later, next)
			return err
		}
	}
	return nil
}

// resolve takes an open call of a connection to its end and announces it.
func (f *Flow) resolve(ctx context.Context, id string) error {
	end := f.Background.Keeping.Resolve(ctx, id, f.CodeLifetime)
	if end == nil {
		return nil
	}
	reason, ended := endOf(end)
	ofCode := errors.Is(end, custody.ErrExchangeUnknown) || errors.Is(end, custody.ErrCodeRejected)
	if !ended && !ofCode {
		return fmt.Errorf("flow: sweeping: %w", end)
	}
	rec, rev, err := f.Records.Get(ctx, id)
	switch {
	case errors.Is(err, connection.ErrNotFound):
		return nil // tokens of no connection: nobody to tell
	case err != nil:
		return fmt.Errorf("flow: reading the connection: %w", err)
	case ofCode:
		return f.attemptEnded(ctx, rec, rev, end)
	case rec.State != connection.Established:
		return nil // was told before
	}
	return f.endAccess(ctx, ending{rec: rec, rev: rev, reason: reason, err: end})
}

// attemptEnded says that an attempt to connect came to nothing because its code
// brought no tokens, unless somebody has said so or the connection came about by
// another code.
func (f *Flow) attemptEnded(ctx context.Context, rec connection.Record, rev uint64, end error) error {
	if rec.State == connection.Established || rec.State == connection.Erased {
		return nil
	}
	for _, state := range []string{rec.RenewalState, rec.OAuthState} {
		if state == "" {
			continue
		}
		binding, err := f.States.LookupState(ctx, state)
		if errors.Is(err, connection.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("flow: looking up the state: %w", err)
		}
		if binding.CodeSHA256 == "" || rec.Settled(binding.CodeSHA256) {
			continue
		}
		return f.failConnection(ctx, events.Cause{}, rec, rev, badCode(state, binding.CodeSHA256, end))
	}
	return nil
}

// pause waits, or ends with ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flow: waiting: %w", context.Cause(ctx))
	}
}
