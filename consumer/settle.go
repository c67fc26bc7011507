package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/retry"
)

// ackWithin bounds one wait for the server's answer to an acknowledgement;
// ackBudget the time in which it is asked again: longer than a leader election.
const (
	ackWithin = 5 * time.Second
	ackBudget = 15 * time.Second
)

// settle decides, tells the server, and returns what was told. What has to be said
// is said on a clock of its own: the handler's may have run out, the process may be
// stopping.
func (w *work) settle(ctx context.Context, err, cause error) Action {
	l, now := w.lane, time.Now()
	a := decide(result{
		err: err, cause: cause,
		attempt: w.d.Attempt, failures: w.note.failures + 1, tries: w.note.tries + 1, refused: w.note.refused + 1,
		failingSince: w.note.first, jitter: rand.Float64(), //nolint:gosec // a spread of delays, not a secret
	}, w.limits(ctx, err), now)
	// A look at every byte of the message, which most deliveries need not take.
	kept := sync.OnceValue(func() keepable { return w.redacted(err) })
	var stored error
	if a.Kind == DeadLetter {
		if stored = w.lastWords(ctx, a.Class, err); stored == nil {
			stored = w.bury(ctx, a.Class, kept())
			l.status.buried(stored)
		}
		if stored != nil {
			a = w.limits(ctx, stored).wait(OutcomeNotStored, jittered(l.cfg.RetryDelayMax, rand.Float64())) //nolint:gosec // as above
			a.Counts = true
		}
	}
	if a.Kind == Park {
		unparked := w.park(ctx, a, kept(), now)
		l.status.parked(unparked)
		if unparked != nil {
			a.Kind, a.Delay = Nak, min(a.Delay, cmp.Or(l.cfg.maxWait, maxWait))
			stored = errors.Join(stored, unparked)
		}
	}
	a.notBefore = w.notBefore(a, err, now)
	// Before the answer: it may be delivered again the moment it is sent.
	if a.Kind == Nak {
		w.notes.failed(w.key, w.delivered, a, now)
		w.notes.traced(w.key, w.carry)
		w.from.crowd.more()
	} else {
		w.notes.forget(w.key)
	}
	said := w.answer(ctx, a)
	l.cfg.Metrics.settled(l.Name, a, w.d.Attempt)
	w.report(ctx, a, kept, stored, said)
	w.endSpan(a, kept)
	return a
}

// notBefore is the time that a delivery was told to wait for, where the consumer brings
// it back earlier; never later than the end of its patience.
func (w *work) notBefore(a Action, err error, now time.Time) time.Time {
	until, named := fault.Until(err)
	if a.Kind != Nak || a.Outcome != OutcomeWaitUntil || !named || !until.After(now.Add(a.Delay)) {
		return time.Time{}
	}
	first := w.note.first
	if first.IsZero() {
		first = now
	}
	if end := first.Add(w.lane.cfg.OutageAfter); end.Before(until) {
		return end
	}
	return until
}

// early is the error of a delivery whose time has not come, nil of any other: handling
// it would make the call that was not to be made.
func (w *work) early(now time.Time) error {
	if !now.Before(w.note.until) {
		return nil
	}
	return fault.Throttled("", w.note.until, errEarly)
}

// limits are what decide needs to know beside how the handling ended. What went
// well is never given back.
func (w *work) limits(ctx context.Context, err error) limits {
	cfg := w.lane.cfg
	lim := limits{
		maxAttempts: w.lane.MaxAttempts, retryDelay: cfg.RetryDelay, retryDelayMax: cfg.RetryDelayMax,
		outageAfter: cfg.OutageAfter, parkAfter: cfg.parkAfter(), maxWait: cfg.maxWait,
	}
	if err != nil && lim.parkAfter > 0 {
		lim.crowded = w.from.crowd.crowded(ctx, w.lane.work.Go)
	}
	return lim
}

// answer sends the answer. It is the only place that does, but for handBack.
func (w *work) answer(ctx context.Context, a Action) error {
	var err error
	var kind string
	switch a.Kind {
	case Ack, Park:
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
