package consumer_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// Whoever waits for the result is told before the message is given up; while
// that cannot be said, the message is not given up either.
func TestLastWordsComeBeforeTheDeadLetter(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	r.publish("x", nil)
	var said atomic.Int32
	r.run(func(context.Context, consumer.Delivery) error { return errBoom }, func(_ *consumer.Config, l *consumer.Lane) {
		l.LastWords = func(_ context.Context, d consumer.Delivery, class fault.Class, err error) error {
			if class != fault.Exhausted || err == nil || d.Sequence != 1 || r.deadLetters() != 0 {
				t.Errorf("class %s, error %v, sequence %d, %d dead letters", class, err, d.Sequence, r.deadLetters())
			}
			if said.Add(1) == 1 {
				return fault.Transient(fault.NATS, errBoom)
			}
			return nil
		}
	})
	acks.WaitVerdicts(t, 4, soon) // two attempts, one that could not be told, one that was
	if said.Load() != 2 || r.deadLetters() != 1 {
		t.Errorf("said %d times, %d dead letters, want 2 and 1", said.Load(), r.deadLetters())
	}
}

func TestLastWordsAreForWhatWasTried(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	r.publish("x", nil)
	r.run(func(context.Context, consumer.Delivery) error { return fault.Permanent(fault.Malformed, errBoom) },
		func(_ *consumer.Config, l *consumer.Lane) {
			l.LastWords = consumer.Dying(events.Codec{}, events.DecodeSyncRequested,
				func(context.Context, events.Envelope, events.SyncRequested, fault.Class, error) error {
					t.Error("last words of a message that never was an event")
					return nil
				})
		})
	acks.WaitVerdicts(t, 1, soon)
}

// A message whose last words can never be said must not come back for ever.
func TestLastWordsThatCannotBeSaidDoNotKeepTheMessage(t *testing.T) {
	for name, refusal := range map[string]error{"for good": fault.Permanent(fault.Rejected, errBoom), "again and again": errBoom} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 30*time.Second)
			r.publish("x", nil)
			r.run(func(context.Context, consumer.Delivery) error { return errBoom }, func(_ *consumer.Config, l *consumer.Lane) {
				l.LastWords = func(context.Context, consumer.Delivery, fault.Class, error) error { return refusal }
			})
			r.eventually("the dead letter is stored all the same", func() bool { return r.deadLetters() == 1 })
		})
	}
}

// Readiness says that dead letters cannot be stored, and that they can again.
func TestStatusTellsOfDeadLettersThatCannotBeStored(t *testing.T) {
	r := newRig(t, 30*time.Second)
	r.must(r.js.DeleteStream(r.ctx(), dlq))
	r.publish("x", nil)
	running := r.run(func(context.Context, consumer.Delivery) error { return fault.Permanent(fault.Malformed, errBoom) },
		func(c *consumer.Config, _ *consumer.Lane) { c.DeadLetterTimeout = time.Second })
	r.eventually("the status says so", func() bool {
		s := running.Status()[0]
		return !s.Ready && strings.Contains(s.Why, "dead letters cannot be stored")
	})
	r.addStream(dlq, "dlq.>")
	r.eventually("the status is good again", func() bool { return running.Status()[0].Ready })
}
