package consumer

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

var errAny = errors.New("finx: listing accounts: status 502")

func testLimits() limits {
	return limits{maxAttempts: 5, retryDelay: time.Second, retryDelayMax: time.Minute, outageAfter: 24 * time.Hour}
}

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	transient := fault.Transient(fault.FinX, errAny)
	own := fault.Transient("", errAny)
	throttled := func(d time.Duration) error { return fault.Throttled(fault.FinX, now.Add(d), errAny) }
	nak := func(o Outcome, d time.Duration, counts bool) Action {
		return Action{Kind: Nak, Outcome: o, Delay: d, Counts: counts}
	}
	dead := func(c fault.Class, counts bool) Action {
		return Action{Kind: DeadLetter, Outcome: OutcomeDeadLetter, Class: c, Counts: counts}
	}
	done := Action{Kind: Ack, Outcome: OutcomeDone, Counts: true}
	long := now.Add(-25 * time.Hour)
	tests := map[string]struct {
		r    result
		want Action
	}{
		"done":                             {result{attempt: 1, failures: 1, tries: 1}, done},
		"done although the deadline ended": {result{cause: ErrDeadline, attempt: 1, failures: 1, tries: 1}, done},
		"done although shutting down":      {result{cause: ErrShutdown, attempt: 1, failures: 1, tries: 1}, done},

		"nobody judged it":        {result{err: errAny, attempt: 1, failures: 1, tries: 1}, nak(OutcomeRetry, 500*time.Millisecond, true)},
		"own trouble":             {result{err: own, attempt: 1, failures: 1, tries: 1}, nak(OutcomeRetry, 500*time.Millisecond, true)},
		"jitter at its end":       {result{err: own, attempt: 1, failures: 1, tries: 1, jitter: 0.999}, nak(OutcomeRetry, 999500*time.Microsecond, true)},
		"third failure":           {result{err: own, attempt: 3, failures: 3, tries: 3}, nak(OutcomeRetry, 2*time.Second, true)},
		"longest delay":           {result{err: transient, attempt: 1, failures: 1, tries: 40}, nak(OutcomeRetry, 30*time.Second, false)},
		"last attempt":            {result{err: own, attempt: 5, failures: 5, tries: 5}, dead(fault.Exhausted, true)},
		"attempts made elsewhere": {result{err: own, attempt: 5, failures: 3, tries: 3}, dead(fault.Exhausted, true)},
		"too few failures seen here to give up": {
			result{err: own, attempt: 50, failures: 2, tries: 2}, nak(OutcomeRetry, time.Second, true),
		},

		"a dependency is away":                {result{err: transient, attempt: 1, failures: 1, tries: 1}, nak(OutcomeRetry, 500*time.Millisecond, false)},
		"a dependency is away, many attempts": {result{err: transient, attempt: 500, failures: 500, tries: 7, failingSince: now.Add(-time.Hour)}, nak(OutcomeRetry, 30*time.Second, false)},
		"a dependency is away, ambiguous":     {result{err: fault.Ambiguous(fault.Vault, errAny), attempt: 9, failures: 9, tries: 1}, nak(OutcomeRetry, 500*time.Millisecond, false)},
		"a dependency is away for too long":   {result{err: transient, attempt: 3, failures: 3, tries: 3, failingSince: long}, dead(fault.Outage, false)},
		"wrapped on the way up":               {result{err: fmt.Errorf("flow: fetching: %w", transient), attempt: 9, failures: 9, tries: 1}, nak(OutcomeRetry, 500*time.Millisecond, false)},

		"throttled":                {result{err: throttled(30 * time.Second), attempt: 9, failures: 9, tries: 9}, nak(OutcomeWaitUntil, 30*time.Second, false)},
		"throttled, spread":        {result{err: throttled(30 * time.Second), tries: 1, jitter: 0.5}, nak(OutcomeWaitUntil, 31500*time.Millisecond, false)},
		"throttled for hours":      {result{err: throttled(3 * time.Hour), tries: 1}, nak(OutcomeWaitUntil, 15*time.Minute, false)},
		"throttled for a lifetime": {result{err: throttled(math.MaxInt64), tries: 1, jitter: 0.999}, nak(OutcomeWaitUntil, 15*time.Minute, false)},
		"throttled until just now": {result{err: throttled(-time.Second), tries: 1}, nak(OutcomeWaitUntil, time.Second, false)},
		"throttled for more than it may wait": {
			result{err: throttled(time.Minute), tries: 9, failingSince: long}, dead(fault.Outage, false),
		},

		"given up":                        {result{err: fault.Permanent(fault.Malformed, errAny), attempt: 1, failures: 1, tries: 1}, dead(fault.Malformed, true)},
		"given up without a class":        {result{err: fault.Permanent("", errAny), attempt: 1, failures: 1, tries: 1}, dead(fault.Exhausted, true)},
		"given up while shutting down":    {result{err: fault.Permanent(fault.Expired, errAny), cause: ErrShutdown, attempt: 1, failures: 1, tries: 1}, dead(fault.Expired, true)},
		"shutdown is no attempt":          {result{err: errAny, cause: ErrShutdown, attempt: 99, failures: 99, tries: 99}, nak(OutcomeShutdown, time.Second, false)},
		"shutdown, blamed on a server":    {result{err: transient, cause: ErrShutdown, failingSince: long}, nak(OutcomeShutdown, time.Second, false)},
		"shutdown while throttled":        {result{err: throttled(time.Hour), cause: ErrShutdown}, nak(OutcomeShutdown, time.Second, false)},
		"the deadline is an attempt":      {result{err: transient, cause: ErrDeadline, attempt: 2, failures: 2, tries: 2}, nak(OutcomeRetry, time.Second, true)},
		"no room":                         {result{err: errBusy, attempt: 99, failures: 99, tries: 99, refused: 1}, nak(OutcomeBusy, 2*time.Second, false)},
		"no room, again and again":        {result{err: errBusy, refused: 9, failingSince: long}, nak(OutcomeBusy, 7500*time.Millisecond, false)},
		"no room, and shutting down":      {result{err: errBusy, cause: ErrShutdown, refused: 9}, nak(OutcomeShutdown, time.Second, false)},
		"a handler that does not return":  {result{err: errHung, cause: ErrDeadline, attempt: 2, failures: 2, tries: 2}, nak(OutcomeRetry, time.Second, true)},
		"the deadline, for the last time": {result{err: transient, cause: ErrDeadline, attempt: 5, failures: 5, tries: 5}, dead(fault.Exhausted, true)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := decide(tc.r, testLimits(), now); got != tc.want {
				t.Errorf("decide: %+v, want %+v", got, tc.want)
			}
		})
	}
}

// TestDecideParks is what becomes of waits when there is somewhere to park.
func TestDecideParks(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	throttled := func(d time.Duration) error { return fault.Throttled(fault.FinX, now.Add(d), errAny) }
	transient := fault.Transient(fault.FinX, errAny)
	action := func(k Kind, o Outcome, d time.Duration, counts bool) Action {
		return Action{Kind: k, Outcome: o, Delay: d, Counts: counts}
	}
	since := func(d time.Duration) time.Time { return now.Add(-d) }
	tests := map[string]struct {
		r       result
		crowded bool
		want    Action
	}{
		"a minute is no long wait":                  {result{err: throttled(time.Minute)}, false, action(Nak, OutcomeWaitUntil, time.Minute, false)},
		"more is":                                   {result{err: throttled(time.Minute + time.Millisecond)}, false, action(Park, OutcomeWaitUntil, time.Minute+time.Millisecond, false)},
		"as long as was asked for":                  {result{err: throttled(3 * time.Hour)}, false, action(Park, OutcomeWaitUntil, 3*time.Hour, false)},
		"spread":                                    {result{err: throttled(3 * time.Hour), jitter: 0.5}, false, action(Park, OutcomeWaitUntil, 3*time.Hour+2500*time.Millisecond, false)},
		"no longer than its patience":               {result{err: throttled(72 * time.Hour)}, false, action(Park, OutcomeWaitUntil, 24*time.Hour, false)},
		"no longer than what is left of it":         {result{err: throttled(72 * time.Hour), failingSince: since(20 * time.Hour)}, false, action(Park, OutcomeWaitUntil, 4*time.Hour, false)},
		"a time beyond all reason":                  {result{err: throttled(math.MaxInt64), jitter: 0.999}, false, action(Park, OutcomeWaitUntil, 24*time.Hour+4995*time.Millisecond, false)},
		"hardly any patience left":                  {result{err: throttled(72 * time.Hour), failingSince: since(24*time.Hour - time.Millisecond)}, false, action(Nak, OutcomeWaitUntil, time.Second, false)},
		"none left":                                 {result{err: throttled(time.Hour), failingSince: since(24 * time.Hour)}, false, Action{Kind: DeadLetter, Outcome: OutcomeDeadLetter, Class: fault.Outage}},
		"none left, but our own work is in the way": {result{err: fault.Throttled("", now.Add(3*time.Second), errAny), failingSince: since(24*time.Hour + 30*time.Minute)}, false, action(Nak, OutcomeWaitUntil, 3*time.Second, false)},
		"nor for that":                              {result{err: fault.Throttled("", now.Add(3*time.Second), errAny), failingSince: since(25 * time.Hour)}, false, Action{Kind: DeadLetter, Outcome: OutcomeDeadLetter, Class: fault.Outage}},
		"the ladder stays with the consumer":        {result{err: transient, tries: 40, jitter: 0.99}, false, action(Nak, OutcomeRetry, 59700*time.Millisecond, false)},
		"crowded: two seconds":                      {result{err: transient, tries: 3}, true, action(Park, OutcomeRetry, 2*time.Second, false)},
		"crowded: less":                             {result{err: transient, tries: 2, jitter: 0.9}, true, action(Nak, OutcomeRetry, 1900*time.Millisecond, false)},
		"crowded: an attempt is one":                {result{err: errAny, attempt: 3, failures: 3, tries: 3}, true, action(Park, OutcomeRetry, 2*time.Second, true)},
		"crowded: throttled":                        {result{err: throttled(10 * time.Second)}, true, action(Park, OutcomeWaitUntil, 10*time.Second, false)},
		"crowded: no room":                          {result{err: errBusy, refused: 1}, true, action(Park, OutcomeBusy, 2*time.Second, false)},
		"crowded: a shutdown leaves no time":        {result{err: throttled(time.Hour), cause: ErrShutdown}, true, action(Nak, OutcomeShutdown, time.Second, false)},
		"crowded: done is done":                     {result{}, true, Action{Kind: Ack, Outcome: OutcomeDone, Counts: true}},
		"crowded: given up is given up":             {result{err: fault.Permanent(fault.Malformed, errAny)}, true, Action{Kind: DeadLetter, Outcome: OutcomeDeadLetter, Class: fault.Malformed, Counts: true}},
		"crowded: the last attempt was the last":    {result{err: errAny, attempt: 5, failures: 5, tries: 5}, true, Action{Kind: DeadLetter, Outcome: OutcomeDeadLetter, Class: fault.Exhausted, Counts: true}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			lim := testLimits()
			lim.parkAfter, lim.crowded = time.Minute, tc.crowded
			if got := decide(tc.r, lim, now); got != tc.want {
				t.Errorf("decide: %+v, want %+v", got, tc.want)
			}
		})
	}
}

// play lets a message fail with err again and again, waiting each delay out, and
// returns when and how it ended. The notes are the real ones.
func play(t *testing.T, lim limits, err func() error, jitter float64) (Action, time.Duration, int) {
	t.Helper()
	begin, known := time.Now(), newNotes()
	for delivered := 1; delivered < 100_000; delivered++ {
		n, now := known.get(7, delivered), time.Now()
		a := decide(result{
			err: err(), attempt: n.attempt(delivered), failures: n.failures + 1, tries: n.tries + 1,
			failingSince: n.first, jitter: jitter,
		}, lim, now)
		if a.Kind != Nak {
			return a, time.Since(begin), delivered
		}
		if a.Delay <= 0 {
			t.Fatal("a delay of zero is a bare nak")
		}
		known.failed(7, delivered, a, now)
		time.Sleep(a.Delay)
	}
	t.Fatal("never settled")
	return Action{}, 0, 0
}

func TestLadderOverTime(t *testing.T) {
	t.Run("own failures end with the attempts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, took, n := play(t, testLimits(), func() error { return errAny }, 0)
			if a.Class != fault.Exhausted || n != 5 || took != 7500*time.Millisecond { // 0.5+1+2+4
				t.Errorf("%s after %s and %d deliveries, want exhausted after 7.5s and 5", a.Class, took, n)
			}
		})
	})
	t.Run("an outage ends by the clock", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, took, n := play(t, testLimits(), func() error { return fault.Transient(fault.Vault, errAny) }, 0.5)
			if a.Class != fault.Outage || took < 24*time.Hour || took > 24*time.Hour+time.Minute {
				t.Errorf("%s after %s and %d deliveries, want outage after 24h", a.Class, took, n)
			}
		})
	})
	t.Run("throttling burns no attempt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			over := time.Now().Add(3 * time.Hour)
			calls := 0
			a, took, _ := play(t, testLimits(), func() error {
				if time.Now().Before(over) {
					return fault.Throttled(fault.FinX, over, errAny)
				}
				if calls++; calls < 5 {
					return errAny
				}
				return nil
			}, 0)
			if a.Kind != Ack || took < 3*time.Hour || took > 3*time.Hour+30*time.Second {
				t.Errorf("%+v after %s, want done soon after 3h, with four attempts left for real failures", a, took)
			}
		})
	})
}

func TestDelays(t *testing.T) {
	for step, want := range map[int]time.Duration{
		0: time.Second, 1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1 << 30: time.Minute,
	} {
		if got := backoff(step, time.Second, time.Minute); got != want {
			t.Errorf("backoff(%d) = %s, want %s", step, got, want)
		}
	}
	if got := backoff(9, time.Minute, time.Second); got != time.Second {
		t.Errorf("backoff with first above longest = %s, want 1s", got)
	}
	if got := waitDelay(time.Hour, 0.999); got < time.Hour || got > time.Hour+maxSpread {
		t.Errorf("waitDelay of an hour = %s, want no less and hardly more", got)
	}
}
