package consumer_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/consumer"
)

// slow is a lane that is parked from and can be held up.
type slow struct {
	seen    calls
	until   time.Time     // waits until then are asked for first
	release chan struct{} // holds up what comes after that
}

func (s *slow) handle(ctx context.Context, d consumer.Delivery) error {
	if s.seen.add(d) == 1 {
		return wait(time.Until(s.until))
	}
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// TestLaneOfParkedOnesIsFull: what finds no room comes again, without an attempt,
// and the lane of the timers stays free for others.
func TestLaneOfParkedOnesIsFull(t *testing.T) {
	t.Parallel() // it waits for the most part
	const messages = 40
	r := newParkRig(t, 30*time.Second)
	dueAcks := r.dueAcks()
	r.publishMany(messages)
	s := &slow{until: time.Now().Add(8 * time.Second), release: make(chan struct{})}
	var other atomic.Int32
	run := r.run(func(ctx context.Context, d consumer.Delivery) error {
		if d.Attempt != 1 {
			t.Errorf("attempt %d of %d", d.Attempt, d.Sequence)
		}
		return s.handle(ctx, d)
	}, parking, func(c *consumer.Config, l *consumer.Lane) { l.Slots, c.ParkAfter = 1, 4*time.Second }, due(func(l *consumer.Lane) {
		l.Handle = func(context.Context, consumer.Delivery) error { other.Add(1); return nil }
	}))
	r.eventually("all parked", func() bool { return s.seen.count() == messages && r.pending() == 0 })
	if took := time.Since(s.until); took > 0 {
		t.Fatalf("the machine is too slow: parked %s after they were due", took)
	}
	// One holds the slot, sixteen wait for it; the rest is given back.
	r.eventually("given back", func() bool { return len(dueAcks.Verdicts()) >= messages-17 })
	for _, a := range dueAcks.Verdicts()[:messages-17] { // later waits are longer, and parked
		if answer, delay := splitNak(t, a); answer != "-NAK" || delay < 2*time.Second || delay > 15*time.Second {
			t.Errorf("answer %q, want -NAK with seconds", a.Body)
		}
	}
	if n := run.lane().InFlight; n != 1 {
		t.Errorf("%d in flight in a lane of one slot", n)
	}
	_, err := r.js.Publish(r.ctx(), "finx.due.keepalive.x", []byte("x"))
	r.must(err)
	r.eventually("the timer of somebody else is handled", func() bool { return other.Load() == 1 })
	close(s.release)
	r.eventually("all handled", func() bool { return s.seen.count() == 2*messages && r.pending() == 0 })
	if r.deadLetters() != 0 {
		t.Errorf("%d dead letters", r.deadLetters())
	}
}

// TestGateOfParkedOnesIsClosed: what comes due waits at the gate of its own lane.
func TestGateOfParkedOnesIsClosed(t *testing.T) {
	t.Parallel() // it waits for the most part
	r := newParkRig(t, 30*time.Second)
	gate := newBarrier("")
	handle, got := inOrder(waits())
	r.publish("x", nil)
	r.run(handle, parking, gated(gate))
	next(t, got)
	r.eventually("parked", func() bool { return len(r.waiting(timers)) == 1 && r.pending() == 0 })
	gate.set("finX does not answer")
	r.eventually("it came due", func() bool { return r.pending() == 1 })
	pause(t.Context(), 300*time.Millisecond)
	if len(got) != 0 {
		t.Error("it was handled behind a closed gate")
	}
	gate.set("")
	if d := next(t, got); d.Attempt != 1 {
		t.Errorf("attempt %d, want 1", d.Attempt)
	}
	r.eventually("settled", func() bool { return r.pending() == 0 })
}

// TestShutdownWhileHandedOver: what waits for a slot goes back, at once, and is no
// attempt.
func TestShutdownWhileHandedOver(t *testing.T) {
	t.Parallel()                  // it waits for the most part
	r := newParkRig(t, time.Hour) // what got lost would not come back within the test
	dueAcks, gate := r.dueAcks(), newBarrier("")
	handle, got := inOrder(waits())
	r.publish("x", nil)
	run := r.run(handle, parking, gated(gate))
	next(t, got)
	r.eventually("parked", func() bool { return len(r.waiting(timers)) == 1 && r.pending() == 0 })
	gate.set("finX does not answer")
	r.eventually("it came due", func() bool { return r.pending() == 1 })
	r.eventually("handed over", func() bool { return metric(t, r, "handed_over_total", map[string]string{"lane": "callbacks"}) == 1 })
	begin := time.Now()
	run.stop()
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("run returned after %s, want at once", took)
	}
	if answer, delay := splitNak(t, dueAcks.WaitVerdicts(t, 1, soon)[0]); answer != "-NAK" || delay != time.Second {
		t.Errorf("answer %s after %s, want -NAK with a second", answer, delay)
	}
	r.run(handle, parking)
	if d := next(t, got); d.Attempt > 2 { // the next process knows one delivery more, not why
		t.Errorf("attempt %d", d.Attempt)
	}
	r.eventually("settled", func() bool { return r.pending() == 0 })
}

// TestThousandsComeDueAtOnce: they pass four slots one after the other, while the
// timers of others are handled as they come, and so are new messages.
func TestThousandsComeDueAtOnce(t *testing.T) {
	t.Parallel() // it waits for the most part
	const messages, keepAlives = 2000, 5
	r := newParkRig(t, 30*time.Second)
	r.publishMany(messages)
	begin := time.Now()
	s := &slow{until: begin.Add(20 * time.Second), release: make(chan struct{})}
	close(s.release)
	var running, most, others atomic.Int32
	r.run(func(ctx context.Context, d consumer.Delivery) error {
		for now := running.Add(1); now > most.Load(); {
			most.Store(now)
		}
		defer running.Add(-1)
		if string(d.Data) == "new" {
			return nil
		}
		if d.Attempt != 1 {
			t.Errorf("attempt %d of %d", d.Attempt, d.Sequence)
		}
		if !d.FirstFailure.IsZero() {
			pause(ctx, 20*time.Millisecond)
		}
		return s.handle(ctx, d)
	}, parking, func(c *consumer.Config, _ *consumer.Lane) { c.ParkAfter = 8 * time.Second }, due(func(l *consumer.Lane) {
		l.Handle = func(context.Context, consumer.Delivery) error { others.Add(1); return nil }
	}))
	r.eventually("all parked", func() bool { return s.seen.count() >= messages && r.info().AckFloor.Stream == messages })
	parked := time.Since(begin)
	r.eventually("they come due", func() bool { return s.seen.count() > messages })
	for i := range keepAlives {
		begin := time.Now()
		_, err := r.js.Publish(r.ctx(), "finx.due.keepalive."+strconv.Itoa(i), []byte("x"))
		r.must(err)
		r.eventually("the timer of somebody else is handled", func() bool { return int(others.Load()) == i+1 })
		t.Logf("the timer of somebody else took %s", time.Since(begin))
	}
	left := 2*messages - s.seen.count()
	if left <= 0 {
		t.Error("the timers of others were handled after all that had come due before")
	}
	r.eventually("all handled", func() bool { return s.seen.count() == 2*messages && r.pending() == 0 })
	t.Logf("parked in %s; all handled %s after they were due; %d were left when %d timers of others were handled", parked, time.Since(s.until), left, keepAlives)
	if most.Load() > 4 || r.deadLetters() != 0 || len(r.waiting(timers)) != 0 {
		t.Errorf("%d at once, %d dead letters, %d schedules left", most.Load(), r.deadLetters(), len(r.waiting(timers)))
	}
}

// TestCrowdedConsumer: waits that are short enough for the consumer are parked when
// it has too many of them, so that what is behind them comes through.
func TestCrowdedConsumer(t *testing.T) {
	const messages, may = 60, 10
	r := newParkRig(t, 30*time.Second)
	c, err := r.js.Consumer(r.ctx(), stream, durable)
	r.must(err)
	cfg := c.CachedInfo().Config
	cfg.MaxAckPending = may
	_, err = r.js.UpdateConsumer(r.ctx(), stream, cfg)
	r.must(err)
	r.publishMany(messages)
	var seen calls
	r.run(func(_ context.Context, d consumer.Delivery) error {
		if seen.add(d) == 1 {
			return wait(30 * time.Second)
		}
		return nil
	}, parking, func(c *consumer.Config, _ *consumer.Lane) { c.ParkAfter = time.Minute })
	r.eventually("all have been tried once", func() bool { return seen.count() >= messages })
	if n := r.info().NumAckPending; n > may/2+4 {
		t.Errorf("%d pending of %d, want hardly more than half", n, may)
	}
	r.eventually("the rest is parked", func() bool { return len(r.waiting(timers)) >= messages-may/2-4 })
}
