package consumer_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestParkedOnTheWire follows one callback through two parks: one after a failure
// that counts, one of what came due.
func TestParkedOnTheWire(t *testing.T) {
	t.Parallel() // it waits for the most part
	r := newParkRig(t, 30*time.Second)
	acks, dueAcks := r.acks(), r.dueAcks()
	handle, got := inOrder(errBoom, waits())
	sent := `{"state":"s","code":"` + code + `"}`
	seq := r.publish(sent, nats.Header{"X-Url": {"https://x/?code=" + code}})
	begin := time.Now()
	r.run(handle, callbacks, parking, func(c *consumer.Config, _ *consumer.Lane) {
		c.RetryDelay, c.RetryDelayMax = 3*time.Second, 3*time.Second
	})
	first := next(t, got)
	if a := acks.WaitVerdicts(t, 1, soon)[0]; a.Body != "+ACK" || !a.Confirmed {
		t.Errorf("answer to the original %q, confirmed %t, want a confirmed +ACK", a.Body, a.Confirmed)
	}
	if n := r.pending(); n != 0 {
		t.Errorf("%d pending while parked, want none", n)
	}
	set := r.waiting(timers)
	if len(set) != 1 || set[0].Subject != "finx.timer.park.FINX_CALLBACKS.1" || set[0].Header.Get(jetstream.ScheduleTargetHeader) != "finx.due.park.FINX_CALLBACKS.1" {
		t.Fatalf("schedules %v", set)
	}
	ref := body(t, set[0])
	for name, want := range map[string]any{
		"v": 1.0, "stream": stream, "sequence": 1.0, "subject": subject, "lane": "callbacks", "durable": durable,
		"attempts": 1.0, "failures": 1.0, "tries": 1.0,
	} {
		if ref[name] != want {
			t.Errorf("%s is %v, want %v", name, ref[name], want)
		}
	}
	if len(ref) != 12 {
		t.Errorf("reference %v, want 12 members and no payload", ref)
	}
	second := next(t, got)
	third := next(t, got)
	for i, d := range []consumer.Delivery{first, second, third} {
		if d.Attempt != []int{1, 2, 2}[i] || d.Sequence != seq || d.Stream != stream || d.Subject != subject || string(d.Data) != sent ||
			!strings.Contains(headerText(d.Header), code) || d.Time.IsZero() || !d.Time.Equal(first.Time) {
			t.Errorf("call %d: attempt %d of %s %d on %s at %s: %s", i+1, d.Attempt, d.Stream, d.Sequence, d.Subject, d.Time, d.Data)
		}
	}
	if !first.FirstFailure.IsZero() || second.FirstFailure.Before(begin) || !third.FirstFailure.Equal(second.FirstFailure) {
		t.Errorf("first failure %s, %s, %s; want none, and then the same", first.FirstFailure, second.FirstFailure, third.FirstFailure)
	}
	for i, a := range dueAcks.WaitVerdicts(t, 2, soon) {
		if a.Body != "+ACK" || !a.Confirmed {
			t.Errorf("answer %d to what came due: %q", i+1, a.Body)
		}
	}
	if all := r.text(timers); strings.Contains(all, code) || strings.Contains(r.log.String(), code) {
		t.Errorf("the code is in the timers stream or in the log:\n%s", all)
	}
	if len(acks.Verdicts()) != 1 || len(r.waiting(timers)) != 0 || r.pending() != 0 || r.deadLetters() != 0 {
		t.Errorf("%d answers to the original, %d schedules, %d pending, %d dead letters at the end", len(acks.Verdicts()), len(r.waiting(timers)), r.pending(), r.deadLetters())
	}
	for name, want := range map[string]float64{"parked_total": 2, "handed_over_total": 2} {
		if n := metric(t, r, name, map[string]string{"lane": "callbacks"}); n != want {
			t.Errorf("%s is %v, want %v", name, n, want)
		}
	}
	if lines := r.log.lines(t, "delivery settled"); len(lines) != 3 || lines[0]["outcome"] != "parked" || lines[2]["outcome"] != "done" {
		t.Errorf("log lines %v", lines)
	}
}

// TestShortWaitAfterParking: what came due and has to wait a little is given back
// to the consumer of what came due, and its attempts go on being counted.
func TestShortWaitAfterParking(t *testing.T) {
	t.Parallel() // it waits for the most part
	r := newParkRig(t, 30*time.Second)
	dueAcks := r.dueAcks()
	handle, got := inOrder(waits(), errBoom, fault.Transient(fault.Vault, errBoom), errBoom)
	r.publish("x", nil)
	r.run(handle, parking, func(_ *consumer.Config, l *consumer.Lane) { l.MaxAttempts = 4 })
	for i, want := range []int{1, 1, 2, 2, 3} {
		if d := next(t, got); d.Attempt != want {
			t.Errorf("attempt %d on call %d, want %d", d.Attempt, i+1, want)
		}
	}
	for i, a := range dueAcks.WaitVerdicts(t, 4, soon) {
		want := "-NAK"
		if i == 3 {
			want = "+ACK"
		}
		if answer, _ := splitNak(t, a); answer != want {
			t.Errorf("answer %d is %q, want %s", i+1, a.Body, want)
		}
	}
}

func TestDeadLetterAfterParkingNamesTheOriginal(t *testing.T) {
	t.Parallel() // it waits for the most part
	r := newParkRig(t, 30*time.Second)
	dueAcks := r.dueAcks()
	r.publish("before", nil)
	seq := r.publish("x", nats.Header{"Nats-Msg-Id": {"cb-1"}})
	r.run(func(_ context.Context, d consumer.Delivery) error {
		if string(d.Data) == "before" {
			return nil
		}
		return errBoom
	}, parking, func(c *consumer.Config, l *consumer.Lane) {
		c.RetryDelay, c.RetryDelayMax, l.MaxAttempts = 2200*time.Millisecond, 2200*time.Millisecond, 2
	})
	if a := dueAcks.WaitVerdicts(t, 1, soon)[0]; a.Body != "+TERM exhausted" {
		t.Errorf("answer to what came due %q", a.Body)
	}
	m := r.deadLetter(1)
	for name, want := range map[string]string{
		consumer.HeaderReason: "exhausted", consumer.HeaderStream: stream, consumer.HeaderSequence: "2", consumer.HeaderSubject: subject,
		consumer.HeaderConsumer: durable, consumer.HeaderAttempts: "2", consumer.HeaderOriginalID: "cb-1", "Nats-Msg-Id": "dlq:" + stream + ":2",
	} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if m.Subject != "dlq."+subject || string(m.Data) != "x" || seq != 2 {
		t.Errorf("dead letter of %d on %s: %q", seq, m.Subject, m.Data)
	}
}

// TestParkedOverRestarts: process and broker end while a delivery is parked. What
// was known of it is known to the next process, which runs out of patience by the
// clock of the first.
func TestParkedOverRestarts(t *testing.T) {
	t.Parallel()                                  // it waits for the most part
	r := newParkRig(t, 30*time.Second, limited()) // another option would be lost by the restart, were they kept apart
	handle, got := inOrder(fault.Transient(fault.FinX, errBoom), fault.Transient(fault.FinX, errBoom))
	slow := func(c *consumer.Config, _ *consumer.Lane) {
		c.RetryDelay, c.RetryDelayMax, c.OutageAfter = 2200*time.Millisecond, 2200*time.Millisecond, 1100*time.Millisecond
	}
	r.publish("x", nil)
	run := r.run(handle, parking, slow)
	begun := time.Now()
	next(t, got)
	r.eventually("parked", func() bool { return len(r.waiting(timers)) == 1 && r.pending() == 0 })
	run.stop()
	r.srv.Restart()
	r.eventually("the broker is back", func() bool { return r.js.Conn().IsConnected() && r.js.Conn().FlushTimeout(time.Second) == nil })
	r.run(handle, parking, slow)
	d := next(t, got)
	if age := d.FirstFailure.Sub(begun); age < -time.Second || age > time.Second || d.Attempt != 1 {
		t.Errorf("attempt %d, first failure %s after it was handled first, want that moment", d.Attempt, age)
	}
	r.eventually("dead letter", func() bool { return r.deadLetters() == 1 })
	if h := r.deadLetter(1).Header; h.Get(consumer.HeaderReason) != "outage" {
		t.Errorf("reason %q, want outage: the first process saw it fail long ago", h.Get(consumer.HeaderReason))
	}
}

// TestDiedBetweenScheduleAndAck: both stay, the message is handled twice, and a
// second park replaces the first.
func TestDiedBetweenScheduleAndAck(t *testing.T) {
	t.Parallel() // it waits for the most part
	for name, parkedAgain := range map[string]bool{"handled": false, "parked again": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newParkRig(t, time.Second, limited("$JS.ACK.>"))
			js, withoutAck := r.asLimited()
			far := func(context.Context, consumer.Delivery) error { return wait(6 * time.Second) }
			r.publish("x", nil)
			r.run(far, parking, withoutAck)
			r.eventually("schedule stored", func() bool { return len(r.waiting(timers)) == 1 })
			first := r.waiting(timers)[0]
			js.Conn().Close() // it takes nothing and says nothing from now on
			handle, got := inOrder()
			if parkedAgain {
				handle, got = inOrder(waits())
			}
			r.run(handle, parking)
			next(t, got)
			r.eventually("the original is acknowledged", func() bool { return r.info().AckFloor.Stream == 1 })
			if parkedAgain {
				set := r.waiting(timers)
				if len(set) != 1 || set[0].Sequence == first.Sequence {
					t.Errorf("%d schedules, want the second in the place of the first", len(set))
				}
			}
			next(t, got)
			r.eventually("nothing is left", func() bool { return len(r.waiting(timers)) == 0 && r.pending() == 0 })
			pause(t.Context(), 300*time.Millisecond)
			if len(got) != 0 || r.deadLetters() != 0 {
				t.Errorf("%d calls more, %d dead letters, want none", len(got), r.deadLetters())
			}
		})
	}
}

func TestParkedOriginalIsGone(t *testing.T) {
	t.Parallel() // it waits for the most part
	r := newParkRig(t, 30*time.Second)
	dueAcks := r.dueAcks()
	handle, got := inOrder(waits())
	r.publish(`{"state":"s","code":"`+code+`"}`, nil)
	r.run(handle, callbacks, parking)
	next(t, got)
	r.eventually("parked", func() bool { return len(r.waiting(timers)) == 1 && r.pending() == 0 })
	s, err := r.js.Stream(r.ctx(), stream)
	r.must(err)
	r.must(s.DeleteMsg(r.ctx(), 1))
	if a := dueAcks.WaitVerdicts(t, 1, soon)[0]; a.Body != "+TERM expired" {
		t.Errorf("answer %q, want +TERM expired", a.Body)
	}
	m := r.deadLetter(1)
	for name, want := range map[string]string{
		consumer.HeaderReason: "expired", consumer.HeaderStream: stream, consumer.HeaderSequence: "1",
		consumer.HeaderSubject: subject, consumer.HeaderConsumer: durable,
	} {
		if m.Header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, m.Header.Get(name), want)
		}
	}
	if text := m.Header.Get(consumer.HeaderError); !strings.Contains(text, "no longer in its stream") || m.Subject != "dlq."+subject || len(m.Data) != 0 {
		t.Errorf("dead letter on %s: %q, %q", m.Subject, text, m.Data)
	}
	if len(got) != 0 {
		t.Error("it was handled")
	}
}

// TestReadingTheOriginalIsRefused: what was parked waits, the lane says what is
// missing, and a process that has the right gets it done.
func TestReadingTheOriginalIsRefused(t *testing.T) {
	t.Parallel() // it waits for the most part
	const right = "$JS.API.STREAM.MSG.GET." + stream
	r := newParkRig(t, 30*time.Second, limited(right))
	handle, got := inOrder(waits())
	r.publish("x", nil)
	allowed := r.run(handle, parking)
	next(t, got)
	r.eventually("parked", func() bool { return len(r.waiting(timers)) == 1 && r.pending() == 0 })
	allowed.stop()
	_, withoutRight := r.asLimited()
	refused := r.run(handle, parking, withoutRight)
	dueLane := func() consumer.LaneStatus { return refused.Status()[1] }
	r.eventually("the due lane says what is missing", func() bool { return !dueLane().Ready && strings.Contains(dueLane().Why, right) })
	if why := dueLane().Why; !strings.Contains(why, "what was parked cannot be taken back") || len(got) != 0 || r.deadLetters() != 0 {
		t.Errorf("why %q, %d handled, %d dead letters", why, len(got), r.deadLetters())
	}
	refused.stop()
	last := r.run(handle, parking)
	if d := next(t, got); d.FirstFailure.IsZero() {
		t.Error("it is not known since when it waits")
	}
	r.eventually("ready", func() bool { return last.Status()[1].Ready })
}

// TestNothingIsParkedThatCannotBeReadAgain: without the right it stays with its
// consumer, as before there was parking.
func TestNothingIsParkedThatCannotBeReadAgain(t *testing.T) {
	t.Parallel() // it waits for the most part
	r := newParkRig(t, 30*time.Second, limited("$JS.API.STREAM.MSG.GET.>"))
	acks := r.acks()
	r.publish("x", nil)
	_, withoutRight := r.asLimited()
	run := r.run(func(context.Context, consumer.Delivery) error { return wait(time.Hour) }, parking, withoutRight)
	a := acks.WaitVerdicts(t, 1, soon)[0]
	if answer, delay := splitNak(t, a); answer != "-NAK" || delay != 15*time.Minute {
		t.Errorf("answer %q, want -NAK with the longest delay", a.Body)
	}
	s := run.lane()
	if !s.Ready || !strings.Contains(s.Why, "cannot be parked") || !strings.Contains(s.Why, "STREAM.MSG.GET") || len(r.waiting(timers)) != 0 {
		t.Errorf("ready %t, why %q, %d schedules", s.Ready, s.Why, len(r.waiting(timers)))
	}
}

// TestParkingNeedsItsStream: a schedule that the timers stream did not
// acknowledge is none.
func TestParkingNeedsItsStream(t *testing.T) {
	t.Parallel() // it waits for the most part
	r := newParkRig(t, 30*time.Second)
	r.must(r.js.DeleteStream(r.ctx(), timers))
	acks := r.acks()
	handle, got := inOrder(waits(), nil, waits())
	r.publish("x", nil)
	run := r.run(handle, parking)
	next(t, got)
	a := acks.WaitVerdicts(t, 1, soon)[0]
	if answer, _ := splitNak(t, a); answer != "-NAK" || !strings.Contains(run.lane().Why, "cannot be parked") {
		t.Errorf("answer %q, why %q; want -NAK: the message would be lost", a.Body, run.lane().Why)
	}
	next(t, got)
	// The next is not held up by trying again at once.
	begin := time.Now()
	r.publish("y", nil)
	for {
		if d := next(t, got); string(d.Data) == "y" {
			break
		}
	}
	r.eventually("answered", func() bool {
		return slices.ContainsFunc(acks.Verdicts(), func(a natstest.Ack) bool { return a.Sequence == 2 })
	})
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the next was held up for %s", took)
	}
}

func TestParkingUnderOtherNames(t *testing.T) {
	t.Parallel() // it waits for the most part
	tests := map[string]struct{ prefix, stream, timers string }{
		"prefix":            {"acme.prod", "FINX_CALLBACKS_ACME", "FINX_TIMERS_ACME"},
		"streams of others": {"", "team-7_inputs", "shared"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			codec := events.Codec{Prefix: tc.prefix}
			r := newRig(t, 30*time.Second)
			r.must(r.js.DeleteStream(r.ctx(), stream))
			r.addStream(tc.stream, codec.Subject(subject))
			_, err := r.js.CreateConsumer(r.ctx(), tc.stream, jetstream.ConsumerConfig{Durable: durable, AckPolicy: jetstream.AckExplicitPolicy})
			r.must(err)
			r.addTimers(tc.timers, codec.Subject("finx.timer.>"), codec.Subject("finx.due.>"))
			handle, got := inOrder(waits())
			_, err = r.js.Publish(r.ctx(), codec.Subject(subject), []byte("x"))
			r.must(err)
			r.run(handle, parking, func(c *consumer.Config, l *consumer.Lane) {
				c.Codec, c.TimersStream, c.Lanes[0].Stream, l.Stream = codec, tc.timers, tc.timers, tc.stream
			})
			next(t, got)
			r.eventually("parked", func() bool { return len(r.waiting(tc.timers)) == 1 })
			if m := r.waiting(tc.timers)[0]; m.Subject != codec.Subject("finx.timer.park."+tc.stream+".1") {
				t.Errorf("subject %s", m.Subject)
			}
			if d := next(t, got); d.Subject != codec.Subject(subject) || d.Stream != tc.stream || string(d.Data) != "x" {
				t.Errorf("resumed %s from %s", d.Subject, d.Stream)
			}
		})
	}
}

func TestMalformedReferenceIsADeadLetter(t *testing.T) {
	t.Parallel() // it waits for the most part
	r := newParkRig(t, 30*time.Second)
	dueAcks := r.dueAcks()
	handle, got := inOrder()
	_, err := r.js.Publish(r.ctx(), "finx.due.park."+stream+".1", []byte(`{"v":1,"stream":"`+stream+`","sequence":2,"lane":"callbacks"}`))
	r.must(err)
	r.run(handle, parking)
	if a := dueAcks.WaitVerdicts(t, 1, soon)[0]; a.Body != "+TERM malformed" {
		t.Errorf("answer %q", a.Body)
	}
	m := r.deadLetter(1)
	if m.Subject != "dlq.finx.due.park."+stream+".1" || m.Header.Get(consumer.HeaderStream) != timers ||
		!strings.Contains(m.Header.Get(consumer.HeaderError), "sequence") || len(got) != 0 {
		t.Errorf("dead letter on %s of %s: %s", m.Subject, m.Header.Get(consumer.HeaderStream), m.Header.Get(consumer.HeaderError))
	}
}

// TestLaneOfAParkedOneIsMissing: another version of the program may have it.
func TestLaneOfAParkedOneIsMissing(t *testing.T) {
	t.Parallel() // it waits for the most part
	r := newParkRig(t, 30*time.Second)
	handle, got := inOrder(waits())
	r.publish("x", nil)
	run := r.run(handle, parking)
	next(t, got)
	r.eventually("parked", func() bool { return len(r.waiting(timers)) == 1 && r.pending() == 0 })
	run.stop()
	other := r.run(handle, parking, func(c *consumer.Config, l *consumer.Lane) {
		l.Name, c.RetryDelayMax = "renamed", 500*time.Millisecond
	})
	r.eventually("the due lane says so", func() bool {
		s := other.Status()[1]
		return !s.Ready && strings.Contains(s.Why, "there is no lane callbacks")
	})
	if len(got) != 0 || r.deadLetters() != 0 {
		t.Errorf("%d handled, %d dead letters", len(got), r.deadLetters())
	}
	other.stop()
	r.run(handle, parking)
	next(t, got)
}
