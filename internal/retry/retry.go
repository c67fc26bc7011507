// Package retry repeats one call for a few seconds, led by the verdict its
// errors carry.
//
// It is the inner of the two retry rings: what it cannot mend within its budget
// goes up unchanged and is settled by the consumer. The backoff library lives
// here and nowhere else; none of its types crosses the border of the package.
package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// Defaults of a Policy's zero fields.
const (
	DefaultInitial = 200 * time.Millisecond
	DefaultMax     = 5 * time.Second
)

// Policy bounds the repetition. The zero Policy makes one attempt.
type Policy struct {
	Initial time.Duration // first wait; zero means DefaultInitial
	Max     time.Duration // longest backoff wait; zero means DefaultMax
	// Budget is the time, counted from the first attempt, within which a further
	// attempt may begin. It does not shorten an attempt that is under way: that
	// has a time-out of its own. Zero or less means one attempt.
	Budget time.Duration
	// Jitter spreads every wait over ± this share of it, from 0 (none) to 1, so
	// that callers who failed together do not come back together.
	Jitter float64
}

// Do calls fn until it succeeds, its error says give up, or the next attempt
// could not begin within the budget or before ctx ends.
//
// The wait before an attempt is the backoff or, when the error says WaitUntil,
// the time until then, whichever is longer. A WaitUntil beyond the budget is
// returned at once: sleeping first would only delay the one who can wait longer.
//
// The error is always the last one fn returned, with its verdict. When ctx ended
// meanwhile its cause is wrapped beside it, so errors.Is finds both and
// fault.Of reads the verdict of the answer. fn is not called at all when ctx has
// already ended.
//
// onRetry, if not nil, is told of every wait before it begins. Do is safe for
// concurrent use; fn and onRetry are called one after the other.
func Do(ctx context.Context, p Policy, fn func(context.Context) error, onRetry func(err error, wait time.Duration)) error {
	if ctx.Err() != nil {
		return fmt.Errorf("retry: starting the first attempt: %w", context.Cause(ctx))
	}
	start, waits := time.Now(), p.waits()
	for {
		err := fn(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return withCause(ctx, err)
		}
		if v := fault.Of(err); v != fault.Retry && v != fault.WaitUntil {
			return err
		}
		wait := waits.next(err)
		if time.Since(start)+wait > p.Budget || endsBefore(ctx, wait) {
			return err
		}
		if onRetry != nil {
			onRetry(err, wait)
		}
		if !sleep(ctx, wait) {
			return withCause(ctx, err)
		}
	}
}

// waits yields the growing waits between attempts.
//
// Only the interval arithmetic of backoff/v4 is used, not its Retry loop, which
// has three habits that would cost us the answer (measured with v4.3.0):
//   - a Permanent error is unwrapped wherever it sits in the chain, so every
//     wrapping around it ("exchanging code: …") is lost;
//   - WithContext returns the bare "context deadline exceeded" and drops the 503
//     that was the reason;
//   - a server's Retry-After has no way in.
//
// Two more of its habits are handled in Policy.waits and next.
type waits struct {
	exponential *backoff.ExponentialBackOff
	max         time.Duration
}

func (p Policy) waits() *waits {
	if p.Initial <= 0 {
		p.Initial = DefaultInitial
	}
	if p.Max <= 0 {
		p.Max = DefaultMax
	}
	return &waits{max: p.Max, exponential: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(min(p.Initial, p.Max)),
		backoff.WithMaxInterval(p.Max),
		backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(min(max(p.Jitter, 0), 1)),
		// The default is 15 minutes, beyond any AckWait, and Stop would come back
		// as a negative wait. The budget is counted in Do instead.
		backoff.WithMaxElapsedTime(0),
	)}
}

// next advances the sequence by one, so it is called once an attempt.
func (w *waits) next(err error) time.Duration {
	// v4 caps the interval before it is randomised: a wait can exceed MaxInterval.
	wait := min(w.exponential.NextBackOff(), w.max)
	if until, ok := fault.Until(err); ok {
		wait = max(wait, time.Until(until))
	}
	return wait
}

// endsBefore reports whether ctx will be over when the wait is.
func endsBefore(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) <= wait
}

// sleep waits and reports whether it was left alone until the end.
func sleep(ctx context.Context, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// withCause puts the end of ctx beside the last answer. The answer comes first:
// readers of verdicts walk the chain in order.
func withCause(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w (no further attempt: %w)", err, cause)
}
