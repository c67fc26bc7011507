package consumer_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// TestHungHandlerIsGivenUp: a handler that ignores the end of its time loses its
// message, which runs out of attempts like any other, and keeps its slot. The lane
// says so, and is whole again when the handler returns after all.
func TestHungHandlerIsGivenUp(t *testing.T) {
	const deadline, ackWait = 300 * time.Millisecond, 3 * time.Second
	r := newRig(t, ackWait)
	acks := r.acks()
	seq := r.publish("hangs", nil)
	hang := make(chan struct{})
	causes, words := make(chan error, 10), make(chan fault.Class, 10)
	var good calls
	run := r.run(func(ctx context.Context, d consumer.Delivery) error {
		if d.Sequence != seq {
			good.add(d)
			return nil
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		<-hang
		return nil // nobody asks any more
	}, func(_ *consumer.Config, l *consumer.Lane) {
		l.Slots, l.Deadline, l.MaxAttempts = 2, deadline, 2
		l.LastWords = func(_ context.Context, _ consumer.Delivery, class fault.Class, _ error) error {
			words <- class
			return nil
		}
	})
	if cause := <-causes; !errors.Is(cause, consumer.ErrDeadline) {
		t.Errorf("cause %v, want ErrDeadline", cause)
	}
	if answer, _ := splitNak(t, acks.WaitVerdicts(t, 1, soon)[0]); answer != "-NAK" {
		t.Errorf("answer %q, want -NAK", answer)
	}
	got := acks.WaitVerdicts(t, 2, soon)
	if took := got[1].At.Sub(got[0].At); got[1].Body != "+TERM exhausted" || took > ackWait {
		t.Errorf("second answer %q after %s, want +TERM exhausted, and not only after AckWait", got[1].Body, took)
	}
	if class := <-words; class != fault.Exhausted || r.deadLetters() != 1 {
		t.Errorf("last words of %s, %d dead letters", class, r.deadLetters())
	}
	run.waitWhy("every slot (2) is held by a handler that does not return")
	if s := run.lane(); s.Hung != 2 || s.InFlight != 2 || metric(t, r, "hung_handlers", nil) != 2 {
		t.Errorf("status %+v", s)
	}
	r.publish("good", nil)
	close(hang)
	run.waitReady()
	r.eventually("the next is handled", func() bool { return good.count() == 1 })
	r.eventually("nothing is left of it", func() bool { s := run.lane(); return s.Hung == 0 && s.Why == "" && s.InFlight == 0 })
	if lines := r.log.lines(t, "handler does not return, its message is given up"); len(lines) != 2 {
		t.Errorf("%d log lines, want two", len(lines))
	}
	if n := len(acks.Verdicts()); n > 3 {
		t.Errorf("%d answers: what returned too late was answered again", n)
	}
}

// TestOneHungHandlerIsShown: the rest of the lane goes on.
func TestOneHungHandlerIsShown(t *testing.T) {
	r := newRig(t, 3*time.Second)
	hang := make(chan struct{})
	r.publish("hangs", nil)
	var good calls
	run := r.run(func(_ context.Context, d consumer.Delivery) error {
		if d.Sequence == 1 && good.add(d) == 1 {
			<-hang
		}
		return nil
	}, func(_ *consumer.Config, l *consumer.Lane) { l.Deadline = 300 * time.Millisecond })
	r.eventually("the lane says so", func() bool {
		s := run.lane()
		return s.Ready && s.Hung == 1 && strings.Contains(s.Why, "1 of 4 slots are held by handlers that do not return")
	})
	r.eventually("handled by another", func() bool { return r.info().AckFloor.Stream == 1 })
	close(hang)
}

// TestHandlerThatEndsItsGoroutine is a failed attempt, as a panic is.
func TestHandlerThatEndsItsGoroutine(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	r.publish("x", nil)
	r.run(func(_ context.Context, d consumer.Delivery) error {
		if d.Attempt == 1 {
			endGoroutine()
		}
		return nil
	})
	got := acks.WaitVerdicts(t, 2, soon)
	if answer, _ := splitNak(t, got[0]); answer != "-NAK" || got[1].Body != "+ACK" {
		t.Errorf("answers %q and %q, want -NAK and +ACK", got[0].Body, got[1].Body)
	}
}
