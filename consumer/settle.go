package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/retry"
)

// Kind is one of the three answers to a delivery.
type Kind uint8

// The answers.
const (
	Ack        Kind = iota // done, never again
	Nak                    // again, after Action.Delay
	DeadLetter             // store a dead letter, then terminate
)

// Outcome names why an answer was given: the label of the metric and the word in
// the log line.
type Outcome string

// The outcomes.
const (
	OutcomeDone       Outcome = "done"
	OutcomeRetry      Outcome = "retry"
	OutcomeWaitUntil  Outcome = "wait_until"
	OutcomeShutdown   Outcome = "shutdown"
	OutcomeDeadLetter Outcome = "dead_letter"
	OutcomeNotStored  Outcome = "dead_letter_not_stored" // it will be tried again
	OutcomeBusy       Outcome = "busy"                   // not handled: there was no room, or no leave to
)

// Action is what is to be done about a delivery.
type Action struct {
	Kind    Kind
	Outcome Outcome
	Delay   time.Duration // of a Nak; never zero, because that is immediate redelivery
	Class   fault.Class   // of a DeadLetter
	Counts  bool          // the delivery was an attempt
}

// result is everything decide may look at.
type result struct {
	err   error
	cause error // why the handler's context ended, nil while it had not
	// attempt counts the deliveries, this one included, that were attempts as far
	// as known; failures are those of them this process saw fail, this one included.
	attempt, failures int
	tries             int       // failures seen here that were not waits, this one included
	failingSince      time.Time // the first failure seen here; zero when this is it
	jitter            float64   // in [0, 1): where in its range the delay is
}

// limits are the settings decide needs.
type limits struct {
	maxAttempts   int
	retryDelay    time.Duration
	retryDelayMax time.Duration
	outageAfter   time.Duration
}

// decide turns what a handler returned into the answer to the delivery. It is
// pure: the whole policy is this function.
func decide(r result, lim limits, now time.Time) Action {
	outage := !r.failingSince.IsZero() && now.Sub(r.failingSince) >= lim.outageAfter
	again := Action{Kind: Nak, Outcome: OutcomeRetry, Delay: jittered(backoff(r.tries, lim.retryDelay, lim.retryDelayMax), r.jitter)}
	verdict := fault.Of(r.err)
	switch {
	case r.err == nil:
		return Action{Kind: Ack, Outcome: OutcomeDone, Counts: true} // also when the end of its time met it
	case verdict == fault.GiveUp:
		return Action{Kind: DeadLetter, Outcome: OutcomeDeadLetter, Class: fault.ClassOf(r.err), Counts: true}
	case errors.Is(r.cause, ErrShutdown):
		return Action{Kind: Nak, Outcome: OutcomeShutdown, Delay: shutdownDelay}
	case verdict == fault.WaitUntil:
		if outage {
			return Action{Kind: DeadLetter, Outcome: OutcomeDeadLetter, Class: fault.Outage}
		}
		until, _ := fault.Until(r.err)
		return Action{Kind: Nak, Outcome: OutcomeWaitUntil, Delay: waitDelay(until.Sub(now), r.jitter)}
	case fault.DependencyOf(r.err) != "" && !errors.Is(r.cause, ErrDeadline):
		// Somebody else's trouble: measured in hours, not in attempts. A job that ran
		// into its own deadline is an attempt, whatever it was waiting for.
		if outage {
			return Action{Kind: DeadLetter, Outcome: OutcomeDeadLetter, Class: fault.Outage}
		}
		return again
	case r.attempt >= lim.maxAttempts && r.failures >= (lim.maxAttempts+1)/2:
		return Action{Kind: DeadLetter, Outcome: OutcomeDeadLetter, Class: fault.Exhausted, Counts: true}
	}
	again.Counts = true
	return again
}

// ackWithin bounds one wait for the server's answer to an acknowledgement;
// ackBudget the time in which it is asked again: longer than a leader election.
const (
	ackWithin = 5 * time.Second
	ackBudget = 15 * time.Second
)

// settle decides and tells the server. What has to be said is said on a clock of
// its own: the handler's may have run out, the process may be stopping.
func (w *work) settle(ctx context.Context, err, cause error) {
	l, now := w.lane, time.Now()
	a := decide(result{
		err: err, cause: cause,
		attempt: w.d.Attempt, failures: w.note.failures + 1, tries: w.note.tries + 1,
		failingSince: w.note.first, jitter: rand.Float64(), //nolint:gosec // a spread of delays, not a secret
	}, limits{l.MaxAttempts, l.cfg.RetryDelay, l.cfg.RetryDelayMax, l.cfg.OutageAfter}, now)
	kept := w.redacted(err)
	var stored error
	if a.Kind == DeadLetter {
		if stored = w.lastWords(ctx, a.Class, err); stored == nil {
			stored = w.bury(ctx, a.Class, kept)
			l.status.buried(stored)
		}
		if stored != nil {
			a = Action{Kind: Nak, Outcome: OutcomeNotStored, Delay: jittered(l.cfg.RetryDelayMax, rand.Float64()), Counts: a.Counts} //nolint:gosec // as above
		}
	}
	// Before the answer: it may be delivered again the moment it is sent.
	if a.Kind == Nak {
		l.notes.failed(w.d.Sequence, w.delivered, a, now)
	} else {
		l.notes.forget(w.d.Sequence)
	}
	said := w.answer(ctx, a)
	l.cfg.Metrics.settled(l.Name, a, w.d.Attempt)
	w.report(ctx, a, kept, stored, said)
}

// answer sends the answer. It is the only place that does, but for handBack.
func (w *work) answer(ctx context.Context, a Action) error {
	var err error
	var kind string
	switch a.Kind {
	case Ack:
		kind, err = answerAck, w.ack(ctx)
	case Nak:
		kind, err = answerNak, w.msg.NakWithDelay(a.Delay)
	case DeadLetter:
		kind, err = answerTerm, w.msg.TermWithReason(string(a.Class))
	}
	if err != nil {
		// AckWait brings the message back, and handlers bear that.
		w.lane.cfg.Metrics.ackFailed(w.lane.Name, kind)
		return fmt.Errorf("consumer: answering %s: %w", kind, err)
	}
	return nil
}

// ack acknowledges and waits for the server to confirm, through a failover.
func (w *work) ack(ctx context.Context) error {
	ctx, cancel := outlive(ctx, settleGrace)
	defer cancel()
	policy := retry.Policy{Initial: 100 * time.Millisecond, Max: time.Second, Budget: ackBudget}
	return retry.Do(ctx, policy, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackWithin)
		defer cancel()
		err := w.msg.DoubleAck(ctx)
		if err == nil || errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
			return nil
		}
		return fault.Transient(fault.NATS, err)
	}, nil)
}

// report writes the one line a delivery gets. It never holds data: the subject
// and the error have been through the lane's Redact.
func (w *work) report(ctx context.Context, a Action, kept keepable, stored, said error) {
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("subject", kept.message.Subject), slog.String("stream", w.d.Stream), slog.Uint64("sequence", w.d.Sequence),
		slog.Int("attempt", w.d.Attempt), slog.String("outcome", string(a.Outcome)), slog.Duration("duration", time.Since(w.begun)),
	}
	switch a.Outcome {
	case OutcomeDone, OutcomeShutdown: // neither has an error to tell
	case OutcomeRetry, OutcomeWaitUntil:
		level = slog.LevelWarn
		attrs = append(attrs, slog.Duration("delay", a.Delay), slog.String("error", kept.line))
	case OutcomeDeadLetter:
		level = slog.LevelError
		attrs = append(attrs, slog.String("class", string(a.Class)), slog.String("error", kept.line))
	case OutcomeNotStored:
		level = slog.LevelError
		attrs = append(attrs, slog.String("error", kept.line), slog.String("store_error", oneLine(stored.Error())))
	}
	if said != nil {
		level = max(level, slog.LevelWarn)
		attrs = append(attrs, slog.String("answer_error", oneLine(said.Error())))
	}
	w.lane.log.LogAttrs(ctx, level, "delivery settled", attrs...)
}
