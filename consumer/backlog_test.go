package consumer_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func surveyed(c *consumer.Config, _ *consumer.Lane) {
	consumer.SetSurveyEvery(c, 20*time.Millisecond)
}

// What waits is known also while the lane takes nothing, and ages by itself.
func TestTheBacklogIsSeenWhileTheGateIsClosed(t *testing.T) {
	r := newRig(t, 3*time.Second)
	gate := newBarrier("finX is away")
	done := make(chan struct{}, 8)
	run := r.run(func(context.Context, consumer.Delivery) error { done <- struct{}{}; return nil },
		surveyed, func(_ *consumer.Config, l *consumer.Lane) { l.Gate = gate })
	r.eventually("nothing waits", func() bool {
		return metric(t, r, "waiting_messages", nil) == 0 && metric(t, r, "oldest_unsettled_seconds", nil) == 0
	})
	stored := time.Now()
	for range 3 {
		r.publish("x", nil)
	}
	r.eventually("three wait", func() bool {
		age := metric(t, r, "oldest_unsettled_seconds", nil)
		return metric(t, r, "waiting_messages", nil) == 3 && age > 0.1 && age < time.Since(stored).Seconds()+1
	})
	if at := metric(t, r, "backlog_timestamp_seconds", nil); at < float64(stored.Unix()-1) {
		t.Errorf("backlog_timestamp_seconds is %v, want now", at)
	}
	gate.set("")
	r.eventually("all settled", func() bool {
		return len(done) == 3 && metric(t, r, "waiting_messages", nil) == 0 && metric(t, r, "unsettled_messages", nil) == 0 && metric(t, r, "oldest_unsettled_seconds", nil) == 0
	})
	run.stop()
}

// A delayed message is settled by nobody: it counts, with its age, among those of
// other subjects in the same stream that do not.
func TestTheBacklogIsThatOfTheConsumersSubjects(t *testing.T) {
	r := newRig(t, 3*time.Second)
	r.must(r.js.DeleteConsumer(r.ctx(), stream, durable))
	r.publish("of somebody else", nil)
	_, err := r.js.CreateConsumer(r.ctx(), stream, jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: r.ackWait, MaxDeliver: -1,
		FilterSubjects: []string{subject + ".a", subject + ".b"},
	})
	r.must(err)
	r.run(func(context.Context, consumer.Delivery) error {
		return fault.Throttled(fault.FinX, time.Now().Add(20*time.Second), context.DeadlineExceeded)
	}, surveyed)
	r.eventually("nothing waits", func() bool { return metric(t, r, "oldest_unsettled_seconds", nil) == 0 })
	_, err = r.js.Publish(r.ctx(), subject+".b", []byte("x"))
	r.must(err)
	r.eventually("one is delayed", func() bool {
		return metric(t, r, "unsettled_messages", nil) == 1 && metric(t, r, "in_flight", nil) == 0 && metric(t, r, "oldest_unsettled_seconds", nil) > 0
	})
}

func TestNothingIsKnownBeforeTheServerHasAnswered(t *testing.T) {
	r := newRig(t, 3*time.Second)
	r.must(r.js.DeleteStream(r.ctx(), stream))
	r.must(r.js.DeleteStream(r.ctx(), dlq))
	run := r.run(func(context.Context, consumer.Delivery) error { return nil }, surveyed)
	run.waitWhy("is missing")
	for _, name := range []string{"waiting_messages", "unsettled_messages", "oldest_unsettled_seconds", "dead_letters_stored"} {
		if got := metric(t, r, name, nil); !math.IsNaN(got) {
			t.Errorf("%s is %v, want NaN", name, got)
		}
	}
	r.addStream(dlq, "dlq.>")
	_, err := natstest.JetStream(t, r.srv.URL()).Publish(r.ctx(), "dlq.x", []byte("x"))
	r.must(err)
	r.eventually("the dead letter is counted", func() bool { return metric(t, r, "dead_letters_stored", nil) == 1 })
}
