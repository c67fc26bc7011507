package consumer_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestDrainUnderLoad: what is under way is finished and acknowledged, nothing is
// begun any more, and the next process gets everything else once.
func TestDrainUnderLoad(t *testing.T) {
	const messages, finished = 40, 6
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	for i := range messages {
		r.publish(strconv.Itoa(i), nil)
	}
	var seen calls
	draining := make(chan struct{})
	handle := func(ctx context.Context, d consumer.Delivery) error {
		seen.add(d)
		if d.Sequence > finished {
			<-draining
		}
		return ctx.Err()
	}
	first := r.run(handle)
	r.eventually("every slot is taken", func() bool { return seen.count() == finished+4 })
	first.cancel()
	close(draining)
	first.stop()
	begun := seen.count()
	if begun != finished+4 {
		t.Errorf("%d begun, want none after the drain began", begun)
	}
	// The recorder is another client: it hears of an answer when it hears of it.
	r.eventually("as many acknowledged as begun", func() bool { return acked(acks) == begun })
	if first.lane().Ready || first.lane().InFlight != 0 {
		t.Errorf("status after the drain: %+v", first.lane())
	}
	r.run(handle)
	r.eventually("everything acknowledged", func() bool { return r.info().AckFloor.Stream == messages })
	if seen.count() != messages {
		t.Errorf("%d calls for %d messages", seen.count(), messages)
	}
}

// acked counts the acknowledgements among the answers.
func acked(acks *natstest.AckLog) int {
	return len(slices.DeleteFunc(acks.Verdicts(), func(a natstest.Ack) bool { return a.Body != "+ACK" }))
}

func TestDrainTimeoutCancelsWithShutdown(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	r.publish("x", nil)
	begun, cause := make(chan struct{}), make(chan error, 1)
	run := r.run(func(ctx context.Context, _ consumer.Delivery) error {
		close(begun)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return fault.Transient(fault.FinX, ctx.Err())
	}, func(c *consumer.Config, l *consumer.Lane) { c.DrainTimeout, l.MaxAttempts = 200*time.Millisecond, 1 })
	<-begun
	stopped := time.Now()
	run.stop()
	if took := time.Since(stopped); took < 200*time.Millisecond || took > 20*time.Second {
		t.Errorf("run returned after %s, want soon after the drain timeout of 200ms, far before the deadline", took)
	}
	if c := <-cause; !errors.Is(c, consumer.ErrShutdown) {
		t.Errorf("cause %v, want ErrShutdown", c)
	}
	got := acks.WaitVerdicts(t, 1, soon)
	if body, delay := splitNak(t, got[0]); body != "-NAK" || delay != time.Second {
		t.Errorf("answer %q, want -NAK with a second", got[0].Body)
	}
	line := r.log.lines(t, "delivery settled")[0]
	if _, hasError := line["error"]; hasError || line["level"] != "INFO" || line["outcome"] != "shutdown" {
		t.Errorf("log line %v, want INFO without an error", line)
	}
	if r.deadLetters() != 0 {
		t.Error("a shutdown made a dead letter")
	}
}

// TestDrainWaitsForWhoHoldsOn: a handler that must not be left, because it holds
// the only copy of a token, is waited for beyond the cancellation.
func TestDrainWaitsForWhoHoldsOn(t *testing.T) {
	r := newRig(t, time.Second)
	acks := r.acks()
	r.publish("x", nil)
	begun, cancelled, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var returned atomic.Bool
	run := r.run(func(ctx context.Context, _ consumer.Delivery) error {
		close(begun)
		<-ctx.Done()
		close(cancelled)
		<-release
		returned.Store(true)
		return nil
	}, func(c *consumer.Config, _ *consumer.Lane) { c.DrainTimeout = 10 * time.Millisecond })
	<-begun
	run.cancel()
	<-cancelled
	before := acks.Heartbeats()
	r.eventually("heartbeats go on", func() bool { return acks.Heartbeats() >= before+2 })
	select {
	case err := <-run.done:
		t.Fatalf("run returned %v while a handler was busy", err)
	default:
	}
	close(release)
	run.stop()
	if got := acks.WaitVerdicts(t, 1, soon); got[0].Body != "+ACK" || !returned.Load() {
		t.Errorf("answer %q, want +ACK: the work was done", got[0].Body)
	}
}

// TestIntakeStopsAtOnce: after the end of ctx nothing is begun, even when it
// arrives; it goes back with a short delay instead of waiting for AckWait.
func TestIntakeStopsAtOnce(t *testing.T) {
	r := newRig(t, 30*time.Second)
	var seen calls
	run := r.run(counting(&seen))
	run.waitReady()
	begin := time.Now()
	run.stop()
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("an idle run took %s to return, want less than one pull of 5s", took)
	}
	r.publish("late", nil)
	if info := r.info(); info.NumAckPending != 0 || seen.count() != 0 {
		t.Errorf("%d pending, %d handled after the stop, want none", info.NumAckPending, seen.count())
	}
}

// TestEveryDeliveryIsAnswered stops the intake while messages pour in: what the
// server had sent already is handed back, so nothing waits for AckWait.
func TestEveryDeliveryIsAnswered(t *testing.T) {
	returned := 0
	for round := range 10 {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			r := newRig(t, time.Hour)
			acks := r.acks()
			var seen calls
			run := r.run(counting(&seen), func(_ *consumer.Config, l *consumer.Lane) { l.Slots = 64 })
			run.waitReady()
			var pouring sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			for range 2 {
				pouring.Go(func() {
					for ctx.Err() == nil {
						_, _ = r.js.Publish(ctx, subject, []byte("x"))
					}
				})
			}
			r.eventually("under load", func() bool { return seen.count() > 200 })
			// The pouring ends while the open pulls are still listened to: what is
			// on the wire when a pull is dropped can only wait for AckWait.
			time.AfterFunc(30*time.Millisecond, cancel)
			run.stop()
			pouring.Wait()
			delivered := int(r.info().Delivered.Consumer)
			r.eventually("as many answers as deliveries", func() bool { return len(acks.Verdicts()) >= delivered })
			handedBack := delivered - seen.count()
			returned += handedBack
			t.Logf("%d delivered, %d handed back", delivered, handedBack)
			if n := len(acks.Verdicts()); n != delivered || handedBack < 0 {
				t.Errorf("%d answers to %d deliveries, %d handled", n, delivered, seen.count())
			}
		})
	}
	if returned == 0 {
		t.Error("not one delivery was handed back in ten rounds: work is begun after the intake ended")
	}
}

func TestRunRunsOnce(t *testing.T) {
	r := newRig(t, 30*time.Second)
	var seen calls
	run := r.run(counting(&seen))
	run.waitReady()
	if err := run.Run(t.Context()); err == nil {
		t.Error("a second Run was accepted")
	}
}

func TestNewRefusesWhatCannotRun(t *testing.T) {
	r := newRig(t, 30*time.Second)
	good := consumer.Lane{Name: "a", Stream: "S", Durable: "d", Slots: 1, Deadline: time.Second, MaxAttempts: 1, Handle: counting(&calls{})}
	edit := func(f func(*consumer.Lane)) []consumer.Lane {
		l := good
		f(&l)
		return []consumer.Lane{l}
	}
	tests := map[string]consumer.Config{
		"no server":   {Lanes: []consumer.Lane{good}},
		"no lane":     {JS: r.js},
		"twice":       {JS: r.js, Lanes: []consumer.Lane{good, good}},
		"no name":     {JS: r.js, Lanes: edit(func(l *consumer.Lane) { l.Name = "" })},
		"no stream":   {JS: r.js, Lanes: edit(func(l *consumer.Lane) { l.Stream = "" })},
		"no durable":  {JS: r.js, Lanes: edit(func(l *consumer.Lane) { l.Durable = "" })},
		"no handler":  {JS: r.js, Lanes: edit(func(l *consumer.Lane) { l.Handle = nil })},
		"no slots":    {JS: r.js, Lanes: edit(func(l *consumer.Lane) { l.Slots = 0 })},
		"no deadline": {JS: r.js, Lanes: edit(func(l *consumer.Lane) { l.Deadline = 0 })},
		"no attempts": {JS: r.js, Lanes: edit(func(l *consumer.Lane) { l.MaxAttempts = 0 })},
	}
	for name, cfg := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := consumer.New(cfg); err == nil {
				t.Error("accepted")
			}
		})
	}
	if _, err := consumer.New(consumer.Config{JS: r.js, Lanes: []consumer.Lane{good}}); err != nil {
		t.Errorf("a good lane is refused: %v", err)
	}
}
