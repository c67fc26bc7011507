package retry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/retry"
)

var (
	errUpstream = errors.New("finx: listing accounts: status 502")
	errShutdown = errors.New("shutdown")
)

func policy(budget time.Duration) retry.Policy {
	return retry.Policy{Initial: time.Second, Max: 4 * time.Second, Budget: budget}
}

// run calls Do with a function that fails with the given errors in turn, the
// last of them for ever, and reports when each attempt began.
func run(ctx context.Context, p retry.Policy, errs ...error) (at []time.Duration, waits []time.Duration, err error) {
	start := time.Now()
	err = retry.Do(ctx, p, func(context.Context) error {
		at = append(at, time.Since(start))
		return errs[min(len(at), len(errs))-1]
	}, func(_ error, wait time.Duration) { waits = append(waits, wait) })
	return at, waits, err
}

func TestDoWaits(t *testing.T) {
	transient := fault.Transient(fault.FinX, errUpstream)
	tests := map[string]struct {
		budget time.Duration
		errs   func(now time.Time) []error
		want   []time.Duration
		ok     bool
	}{
		"success at once":               {time.Minute, func(time.Time) []error { return []error{nil} }, seconds(0), true},
		"recovers":                      {time.Minute, func(time.Time) []error { return []error{transient, transient, nil} }, seconds(0, 1, 3), true},
		"unjudged error is tried again": {time.Minute, func(time.Time) []error { return []error{errUpstream, nil} }, seconds(0, 1), true},
		"gives up at once": {time.Minute, func(time.Time) []error {
			return []error{fault.Permanent(fault.Rejected, errUpstream)}
		}, seconds(0), false},
		"gives up later": {time.Minute, func(time.Time) []error {
			return []error{transient, fault.Permanent(fault.Rejected, errUpstream)}
		}, seconds(0, 1), false},
		"backoff grows up to Max and ends with the budget": {16 * time.Second, func(time.Time) []error { return []error{transient} }, seconds(0, 1, 3, 7, 11, 15), false},
		"no budget is one attempt":                         {0, func(time.Time) []error { return []error{transient} }, seconds(0), false},
		"a short WaitUntil is waited for": {time.Minute, func(now time.Time) []error {
			return []error{fault.Throttled(fault.FinX, now.Add(20*time.Second), errUpstream), nil}
		}, seconds(0, 20), true},
		"backoff when WaitUntil is nearer": {time.Minute, func(now time.Time) []error {
			return []error{fault.Throttled(fault.FinX, now.Add(time.Millisecond), errUpstream), nil}
		}, seconds(0, 1), true},
		"a WaitUntil beyond the budget is returned at once": {time.Minute, func(now time.Time) []error {
			return []error{fault.Throttled(fault.FinX, now.Add(time.Hour), errUpstream)}
		}, seconds(0), false},
		"a past WaitUntil is a plain retry": {time.Minute, func(now time.Time) []error {
			return []error{fault.Throttled(fault.FinX, now.Add(-time.Hour), errUpstream), nil}
		}, seconds(0, 1), true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at, waits, err := run(t.Context(), policy(tc.budget), tc.errs(time.Now())...)
				if !slices.Equal(at, tc.want) {
					t.Errorf("attempts at %v, want %v", at, tc.want)
				}
				if len(waits) != len(at)-1 {
					t.Errorf("told of %d waits for %d attempts", len(waits), len(at))
				}
				for i, w := range waits {
					if got := at[i+1] - at[i]; got != w {
						t.Errorf("wait %d was announced as %v and lasted %v", i, w, got)
					}
				}
				if (err == nil) != tc.ok {
					t.Errorf("error %v, want success %v", err, tc.ok)
				}
				if err != nil && err.Error() != errUpstream.Error() {
					t.Errorf("error text %q, want the upstream's own", err)
				}
			})
		})
	}
}

func TestDoKeepsEveryWrapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		judged := fmt.Errorf("exchanging: %w", fault.Permanent(fault.Rejected, fmt.Errorf("code: %w", errUpstream)))
		_, _, err := run(t.Context(), policy(time.Minute), fmt.Errorf("outer: %w", judged))
		if err == nil || err.Error() != "outer: exchanging: code: "+errUpstream.Error() {
			t.Fatalf("error %v lost a wrapping", err)
		}
		if fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Rejected || !errors.Is(err, errUpstream) {
			t.Fatalf("verdict or cause lost in %v", err)
		}
	})
}

func TestDoReturnsTheAnswerNotTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		at, _, err := run(ctx, policy(time.Hour), fault.Ambiguous(fault.FinX, errUpstream))
		if want := seconds(0, 1, 3); !slices.Equal(at, want) {
			t.Errorf("attempts at %v, want %v", at, want)
		}
		if !errors.Is(err, errUpstream) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the upstream's answer: the deadline had not passed yet", err)
		}
		if !fault.IsAmbiguous(err) || fault.DependencyOf(err) != fault.FinX {
			t.Errorf("details of the verdict lost in %v", err)
		}
	})
}

func TestDoCancelledWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		start := time.Now()
		time.AfterFunc(1500*time.Millisecond, func() { cancel(errShutdown) })
		at, _, err := run(ctx, policy(time.Hour), fault.Throttled(fault.FinX, start.Add(time.Minute), errUpstream))
		if len(at) != 1 {
			t.Errorf("%d attempts, want one", len(at))
		}
		if took := time.Since(start); took != 1500*time.Millisecond {
			t.Errorf("returned after %v, want at the cancellation", took)
		}
		if !errors.Is(err, errUpstream) || !errors.Is(err, errShutdown) {
			t.Errorf("error %v must show the answer and the cause", err)
		}
		if fault.Of(err) != fault.WaitUntil {
			t.Errorf("verdict %v, want the answer's", fault.Of(err))
		}
	})
}

func TestDoCancelledDuringAnAttempt(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	calls := 0
	err := retry.Do(ctx, policy(time.Hour), func(context.Context) error {
		calls++
		cancel(errShutdown)
		return fault.Transient(fault.FinX, errUpstream)
	}, nil)
	if calls != 1 || !errors.Is(err, errUpstream) || !errors.Is(err, errShutdown) {
		t.Errorf("%d calls, error %v", calls, err)
	}
	if n := strings.Count(err.Error(), "shutdown"); n != 1 {
		t.Errorf("the cause is named %d times in %q", n, err)
	}
}

func TestDoStartsNothingWhenOver(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errShutdown)
	err := retry.Do(ctx, policy(time.Hour), func(context.Context) error {
		t.Error("called after the end")
		return nil
	}, nil)
	if !errors.Is(err, errShutdown) {
		t.Errorf("error %v, want the cause", err)
	}
}

func TestDoJitterStaysWithinMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := retry.Policy{Initial: time.Second, Max: 2 * time.Second, Budget: 10 * time.Minute, Jitter: 0.5}
		_, waits, _ := run(t.Context(), p, errUpstream)
		distinct := map[time.Duration]bool{}
		for _, w := range waits {
			distinct[w] = true
			if w < 500*time.Millisecond || w > 2*time.Second {
				t.Errorf("wait %v outside 0.5 s to Max", w)
			}
		}
		if len(distinct) < 10 {
			t.Errorf("only %d different waits of %d", len(distinct), len(waits))
		}
	})
}

func TestZeroPolicyFieldsHaveDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, waits, _ := run(t.Context(), retry.Policy{Budget: time.Minute}, errUpstream)
		if waits[0] != retry.DefaultInitial || slices.Max(waits) != retry.DefaultMax {
			t.Errorf("waits %v, want %v growing to %v", waits, retry.DefaultInitial, retry.DefaultMax)
		}
	})
}

func seconds(s ...int) []time.Duration {
	out := make([]time.Duration, len(s))
	for i, n := range s {
		out[i] = time.Duration(n) * time.Second
	}
	return out
}
