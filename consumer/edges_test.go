package consumer_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// TestNothingIsParkedOutOfAStreamThatForgets: a stream of another team that drops
// what is acknowledged would drop what is parked.
func TestNothingIsParkedOutOfAStreamThatForgets(t *testing.T) {
	t.Parallel()
	for _, policy := range []jetstream.RetentionPolicy{jetstream.WorkQueuePolicy, jetstream.InterestPolicy} {
		t.Run(policy.String(), func(t *testing.T) {
			t.Parallel() // it waits for the most part
			r := newParkRig(t, 30*time.Second)
			r.must(r.js.DeleteStream(r.ctx(), stream))
			_, err := r.js.CreateStream(r.ctx(), jetstream.StreamConfig{Name: stream, Subjects: []string{subject}, Retention: policy})
			r.must(err)
			r.addConsumer()
			r.publish("x", nil)
			handle, got := inOrder(waits())
			run := r.run(handle, parking)
			for range 2 {
				if d := next(t, got); string(d.Data) != "x" {
					t.Errorf("body %q", d.Data)
				}
			}
			r.eventually("settled", func() bool { return r.pending() == 0 })
			if n := r.deadLetters() + len(r.waiting(timers)); n != 0 {
				t.Errorf("%d dead letters and schedules, want none", n)
			}
			if s := run.lane(); !s.Ready || s.Why == "" {
				t.Errorf("nobody is told: %+v", s)
			}
		})
	}
}

// TestAnotherMessageInThePlaceOfAParkedOne: a stream that was made anew counts from
// one again.
func TestAnotherMessageInThePlaceOfAParkedOne(t *testing.T) {
	t.Parallel() // it waits for the most part
	r := newParkRig(t, 30*time.Second)
	dueAcks := r.dueAcks()
	r.publish("x", nil)
	handle, got := inOrder(waits())
	r.run(handle, parking)
	next(t, got)
	r.eventually("parked", func() bool { return len(r.waiting(timers)) == 1 && r.pending() == 0 })
	r.must(r.js.DeleteStream(r.ctx(), stream))
	r.addStream(stream, subject)
	r.publish("y", nil)
	r.addConsumer()
	if a := dueAcks.WaitVerdicts(t, 1, soon)[0]; a.Body != "+TERM expired" {
		t.Errorf("answer %q, want +TERM expired", a.Body)
	}
	if d := next(t, got); string(d.Data) != "y" || d.Attempt != 1 {
		t.Errorf("%q in attempt %d", d.Data, d.Attempt)
	}
	r.eventually("settled", func() bool { return r.pending() == 0 })
	if len(got) != 0 {
		t.Error("handled as the one that was parked")
	}
}

// slam is a gate that closes the moment it lets somebody through: another lane heard
// that the server is away.
type slam struct {
	*barrier
	asked *atomic.Int64
}

func (s slam) Wait(ctx context.Context, n int) int {
	s.asked.Add(1)
	n = s.barrier.Wait(ctx, n)
	s.set("closed by another lane")
	return n
}

func TestGateClosesBeforeThePull(t *testing.T) {
	r := newRig(t, 30*time.Second)
	r.publishMany(4)
	gate := newBarrier("")
	var seen calls
	asked := new(atomic.Int64)
	r.run(counting(&seen), func(_ *consumer.Config, l *consumer.Lane) { l.Gate = slam{gate, asked} })
	r.eventually("the lane asks again", func() bool { return asked.Load() > 1 })
	if n := seen.count(); n != 0 {
		t.Errorf("%d deliveries are taken by a lane whose gate is closed", n)
	}
}

// silent is a store of suspects without an answer: a permission that is missing.
type silent struct{ asked atomic.Int64 }

func (s *silent) Begun(ctx context.Context, _ string, _ uint64) (int, error) {
	s.asked.Add(1)
	<-ctx.Done()
	return 0, ctx.Err()
}

func (s *silent) Returned(context.Context, string, uint64) error { return nil }

func TestASilentStoreOfSuspectsHoldsUpNobody(t *testing.T) {
	t.Parallel() // it waits for the most part
	r := newRig(t, 30*time.Second)
	const many = 12
	r.publishMany(many)
	r.deliver(many, 4)
	store := &silent{}
	var seen calls
	r.run(counting(&seen), suspects(store))
	begin := time.Now()
	r.eventually("all handled", func() bool { return seen.count() == many })
	if n, took := store.asked.Load(), time.Since(begin); n > 1+int64(took/(15*time.Second)) {
		t.Errorf("asked %d times in %v, 2 s each, one after the other", n, took)
	}
}

// TestNothingIsHandledBeforeItsTime: a wait that cannot be parked comes back in
// pieces. Whoever was named a time keeps it all the same.
func TestNothingIsHandledBeforeItsTime(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	r.publish("x", nil)
	until := time.Now().Add(4500 * time.Millisecond)
	var seen calls
	r.run(func(_ context.Context, d consumer.Delivery) error {
		if seen.add(d); time.Now().Before(until) {
			return fault.Throttled(fault.FinX, until, errBoom)
		}
		if d.Attempt != 1 || d.FirstFailure.IsZero() {
			t.Errorf("attempt %d, first failure %v", d.Attempt, d.FirstFailure)
		}
		return nil
	}, func(c *consumer.Config, _ *consumer.Lane) { consumer.SetMaxWait(c, time.Second) })
	r.eventually("handled", ended(acks, "+ACK"))
	if n := seen.count(); n != 2 || time.Now().Before(until) {
		t.Errorf("handled %d times, want once now and once when its time had come", n)
	}
}

// TestAGateIsLoggedWhoeverLooks: readiness is asked every few seconds, and sees a gate
// close before its lane does.
func TestAGateIsLoggedWhoeverLooks(t *testing.T) {
	r := newRig(t, 30*time.Second)
	gate := newBarrier("")
	run := r.run(counting(&calls{}), gated(gate))
	run.waitReady()
	for _, c := range []struct{ why, said string }{
		{"finx is left alone", "lane takes nothing"}, {"", "lane takes work again"},
	} {
		gate.set(c.why)
		if s := run.lane(); s.Ready != (c.why == "") {
			t.Errorf("%q: %+v", c.why, s)
		}
		r.eventually(c.said, func() bool { return len(r.log.lines(t, c.said)) > 0 })
	}
	if n, m := len(r.log.lines(t, "lane takes nothing")), len(r.log.lines(t, "lane takes work again")); n != 1 || m != 1 {
		t.Errorf("logged %d closings and %d openings, want one each", n, m)
	}
}
