package consumer

import (
	"cmp"
	"errors"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// Kind is one of the four answers to a delivery.
type Kind uint8

// The answers.
const (
	Ack        Kind = iota // done, never again
	Nak                    // again, after Action.Delay
	DeadLetter             // store a dead letter, then terminate
	Park                   // store a schedule for Action.Delay from now, then acknowledge
)

// Outcome names why an answer was given: the label of the metric and the word in
// the log line.
type Outcome string

// The outcomes.
const (
	OutcomeDone       Outcome = "done"
	OutcomeRetry      Outcome = "retry"
	OutcomeWaitUntil  Outcome = "wait_until"
	OutcomeParked     Outcome = "parked" // a retry or a wait until, in FINX_TIMERS
	OutcomeShutdown   Outcome = "shutdown"
	OutcomeDeadLetter Outcome = "dead_letter"
	OutcomeNotStored  Outcome = "dead_letter_not_stored" // it will be tried again
	OutcomeBusy       Outcome = "busy"                   // not handled: there was no room, or no leave to
)

// Action is what is to be done about a delivery.
type Action struct {
	Kind    Kind
	Outcome Outcome
	Delay   time.Duration // of a Nak or a Park; never zero, because that is immediate redelivery
	Class   fault.Class   // of a DeadLetter
	Counts  bool          // the delivery was an attempt

	notBefore time.Time // when a Nak comes back earlier than it was told to
}

// outcome is how the answer is counted and logged.
func (a Action) outcome() Outcome {
	if a.Kind == Park {
		return OutcomeParked
	}
	return a.Outcome
}

// result is everything decide may look at.
type result struct {
	err   error
	cause error // why the handler's context ended, nil while it had not
	// attempt counts the deliveries, this one included, that were attempts as far
	// as known; failures are those of them this process saw fail, this one included.
	attempt, failures int
	tries             int       // failures seen here that were not waits, this one included
	refused           int       // times it was given back without being handled, this one included
	failingSince      time.Time // the first failure seen here; zero when this is it
	jitter            float64   // in [0, 1): where in its range the delay is
}

// limits are the settings decide needs.
type limits struct {
	maxAttempts   int
	retryDelay    time.Duration
	retryDelayMax time.Duration
	outageAfter   time.Duration
	parkAfter     time.Duration // a longer wait is parked; 0 parks none
	maxWait       time.Duration // longest wait left to the consumer; 0 = maxWait
	crowded       bool          // much of what may be pending at the consumer is pending
}

// errBusy says that a delivery could not be handled now, which is nobody's fault.
var errBusy = errors.New("consumer: handling a delivery: no room for it now")

// wait gives a delivery back for as long as d, by the consumer or, when that is
// long or the consumer has too many of them, by a schedule.
func (lim limits) wait(o Outcome, d time.Duration) Action {
	if lim.parkAfter > 0 && (d > lim.parkAfter || lim.crowded && d >= crowdedWait) {
		return Action{Kind: Park, Outcome: o, Delay: d}
	}
	return Action{Kind: Nak, Outcome: o, Delay: min(d, cmp.Or(lim.maxWait, maxWait))}
}

// ownPatience is how much longer a message may wait for this program's own work on its
// connection, such as a lease that another event of it holds. Or one that is tried for
// the last time, when an outage is over, would be given up for meeting it.
const ownPatience = time.Hour

// decide turns what a handler returned into the answer to the delivery. It is
// pure: the whole policy is this function.
func decide(r result, lim limits, now time.Time) Action {
	patience := lim.outageAfter // what is left of it
	if !r.failingSince.IsZero() {
		patience -= now.Sub(r.failingSince)
	}
	again := lim.wait(OutcomeRetry, jittered(backoff(r.tries, lim.retryDelay, lim.retryDelayMax), r.jitter))
	verdict := fault.Of(r.err)
	switch {
	case r.err == nil:
		return Action{Kind: Ack, Outcome: OutcomeDone, Counts: true} // also when the end of its time met it
	case verdict == fault.GiveUp:
		return Action{Kind: DeadLetter, Outcome: OutcomeDeadLetter, Class: fault.ClassOf(r.err), Counts: true}
	case errors.Is(r.cause, ErrShutdown):
		return Action{Kind: Nak, Outcome: OutcomeShutdown, Delay: shutdownDelay}
	case errors.Is(r.err, errBusy):
		return lim.wait(OutcomeBusy, jittered(backoff(r.refused, busyDelay, busyDelayMax), r.jitter))
	case verdict == fault.WaitUntil:
		if fault.DependencyOf(r.err) == "" {
			patience += ownPatience
		}
		if patience <= 0 {
			return Action{Kind: DeadLetter, Outcome: OutcomeDeadLetter, Class: fault.Outage}
		}
		// A wait that is longer than its patience is tried once more at the end of it:
		// the time was named by somebody else, and may be any.
		until, _ := fault.Until(r.err)
		return lim.wait(OutcomeWaitUntil, waitDelay(min(until.Sub(now), patience), r.jitter))
	case fault.DependencyOf(r.err) != "" && !errors.Is(r.cause, ErrDeadline):
		// Somebody else's trouble: measured in hours, not in attempts. A job that ran
		// into its own deadline is an attempt, whatever it was waiting for.
		if patience <= 0 {
			return Action{Kind: DeadLetter, Outcome: OutcomeDeadLetter, Class: fault.Outage}
		}
		return again
	case r.attempt >= lim.maxAttempts && r.failures >= (lim.maxAttempts+1)/2:
		return Action{Kind: DeadLetter, Outcome: OutcomeDeadLetter, Class: fault.Exhausted, Counts: true}
	}
	again.Counts = true
	return again
}
