package consumer_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// counting returns a handler that is content with everything.
func counting(seen *calls) consumer.Handler {
	return func(_ context.Context, d consumer.Delivery) error {
		seen.add(d)
		return nil
	}
}

func TestConsumerMissingThenCreatedDeletedAndRecreated(t *testing.T) {
	r := newRig(t, 30*time.Second)
	r.must(r.js.DeleteConsumer(r.ctx(), stream, durable))
	var seen calls
	run := r.run(counting(&seen))
	run.waitWhy("consumer finx-callbacks missing on FINX_CALLBACKS: run `finx-connector streams apply`")
	since := run.lane().Since
	if age := time.Since(since); age < 0 || age > soon {
		t.Errorf("since %s", since)
	}
	r.eventually("lane_ready is 0 while the consumer is missing", func() bool { return metric(t, r, "lane_ready", nil) == 0 })

	r.addConsumer()
	run.waitReady()
	r.publish("1", nil)
	r.eventually("first handled", func() bool { return seen.count() == 1 })

	r.must(r.js.DeleteConsumer(r.ctx(), stream, durable))
	run.waitWhy("consumer finx-callbacks missing")
	r.addConsumer() // a new one: it delivers everything again
	run.waitReady()
	r.publish("2", nil)
	r.eventually("all handled", func() bool { return seen.count() == 3 })
	if metric(t, r, "lane_ready", nil) != 1 {
		t.Error("lane_ready is not 1 after healing")
	}
	if why := run.lane().Why; why != "" {
		t.Errorf("why %q while ready", why)
	}
	blocked, ready := r.log.lines(t, "lane cannot take work"), r.log.lines(t, "lane takes work")
	if len(blocked) < 2 || len(blocked) > 6 || len(ready) != 2 {
		t.Errorf("%d lines of blocked, %d of ready: want one a change, not one a try", len(blocked), len(ready))
	}
}

func TestStreamDeletedAndRecreated(t *testing.T) {
	r := newRig(t, 30*time.Second)
	var seen calls
	run := r.run(counting(&seen))
	run.waitReady()
	r.must(r.js.DeleteStream(r.ctx(), stream))
	run.waitWhy("stream FINX_CALLBACKS is missing: run `finx-connector streams apply`")
	r.addStream(stream, subject, subject+".>")
	run.waitWhy("consumer finx-callbacks missing")
	r.addConsumer()
	run.waitReady()
	r.publish("1", nil)
	r.eventually("handled", func() bool { return seen.count() == 1 })
}

func TestServerRestart(t *testing.T) {
	r := newRig(t, 30*time.Second, natstest.SyncAlways())
	recorder := natstest.Connect(t, r.srv.URL())
	acks := natstest.RecordAcks(t, recorder, stream, durable)
	var seen calls
	release := make(chan struct{})
	run := r.run(func(_ context.Context, d consumer.Delivery) error {
		seen.add(d)
		if string(d.Data) == "slow" {
			<-release
		}
		return nil
	})
	r.publish("slow", nil)
	r.eventually("under way", func() bool { return seen.count() == 1 })
	r.srv.Stop()
	run.waitWhy("not connected to NATS")
	close(release) // its acknowledgement meets a server that is away
	r.srv.Restart()
	run.waitReady()
	r.eventually("acknowledged through the restart", func() bool { return r.info().AckFloor.Stream == 1 })
	// The recorder comes back at a time of its own; until then it misses answers.
	r.eventually("the recorder is back", func() bool { return recorder.FlushTimeout(time.Second) == nil })
	r.publish("next", nil)
	r.eventually("next handled", func() bool { return r.info().AckFloor.Stream == 2 })
	if seen.count() != 2 {
		t.Errorf("%d calls, want 2: the restart must not repeat what was under way", seen.count())
	}
	r.eventually("the last answer", func() bool {
		v := acks.Verdicts()
		return len(v) > 0 && v[len(v)-1].Sequence == 2
	})
	if v := acks.Verdicts(); acked(acks) != len(v) {
		t.Errorf("answers %v, want acknowledgements only", v)
	}
}

func TestConnectionClosedForGood(t *testing.T) {
	r := newRig(t, 30*time.Second)
	var js jetstream.JetStream
	var seen calls
	run := r.run(counting(&seen), func(c *consumer.Config, _ *consumer.Lane) { js = c.JS })
	run.waitReady()
	js.Conn().Close()
	run.waitWhy("the NATS connection is closed for good")
}

func TestRefusedPermissionIsNamed(t *testing.T) {
	// The API subjects of one consumer, in two tests one of them left out.
	const info, next = "$JS.API.CONSUMER.INFO." + stream + "." + durable, "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + durable
	for missing, allowed := range map[string]string{info: next, next: info} {
		t.Run(missing, func(t *testing.T) {
			r := newRig(t, 30*time.Second, natstest.WithOptions(func(o *server.Options) {
				o.Users = []*server.User{
					{Username: "admin", Password: "x"},
					{Username: "connector", Password: "x", Permissions: &server.Permissions{
						Publish:   &server.SubjectPermission{Allow: []string{allowed, "$JS.ACK.>"}},
						Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
					}},
				}
				o.NoAuthUser = "admin"
			}))
			var seen calls
			run := r.run(counting(&seen), func(c *consumer.Config, _ *consumer.Lane) {
				nc := natstest.Connect(t, r.srv.URL(), nats.UserInfo("connector", "x"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
				js, err := jetstream.New(nc)
				r.must(err)
				c.JS = js
			})
			run.waitWhy("the NATS user lacks a permission")
			if why := run.lane().Why; !strings.Contains(why, missing) {
				t.Errorf("why %q, want the refused subject %s", why, missing)
			}
		})
	}
}

func TestPausedConsumerIsShown(t *testing.T) {
	r := newRig(t, 30*time.Second)
	_, err := r.js.PauseConsumer(r.ctx(), stream, durable, time.Now().Add(time.Hour))
	r.must(err)
	var seen calls
	run := r.run(counting(&seen))
	run.waitReady()
	if why := run.lane().Why; !strings.Contains(why, "paused by an operator until ") {
		t.Errorf("why %q, want the pause", why)
	}
}

func TestConsumerWithoutExplicitAcksIsRefused(t *testing.T) {
	r := newRig(t, 30*time.Second)
	r.must(r.js.DeleteConsumer(r.ctx(), stream, durable))
	_, err := r.js.CreateConsumer(r.ctx(), stream, jetstream.ConsumerConfig{Durable: durable, AckPolicy: jetstream.AckNonePolicy})
	r.must(err)
	r.publish("1", nil)
	var seen calls
	run := r.run(counting(&seen))
	run.waitWhy("does not have ack policy explicit")
	if seen.count() != 0 {
		t.Error("it was consumed from all the same")
	}
}

// TestReplayResetsTheCount: an operator's reset of the consumer starts attempts
// from one, also for a message this process has notes of.
func TestReplayResetsTheCount(t *testing.T) {
	r := newRig(t, 30*time.Second)
	attempts := make(chan int, 100)
	run := r.run(func(_ context.Context, d consumer.Delivery) error {
		attempts <- d.Attempt
		return errBoom
	}, func(c *consumer.Config, l *consumer.Lane) {
		c.RetryDelay, c.RetryDelayMax, l.MaxAttempts = 5*time.Second, 5*time.Second, 9 // the reset must come before the third
	})
	run.waitReady()
	r.publish("1", nil)
	for want := 1; want <= 2; want++ {
		if got := <-attempts; got != want {
			t.Fatalf("attempt %d, want %d", got, want)
		}
	}
	s, err := r.js.Stream(r.ctx(), stream)
	r.must(err)
	_, err = s.ResetConsumer(r.ctx(), durable)
	r.must(err)
	if got := <-attempts; got != 1 {
		t.Errorf("attempt %d after the reset, want 1", got)
	}
}

// TestLeaderLost takes the leader of stream and consumer away under load, on
// three nodes: everything is handled and acknowledged.
func TestLeaderLost(t *testing.T) {
	const messages = 60
	c := natstest.Cluster(t, 3)
	r := &rig{T: t, srv: c.Nodes[0], js: natstest.JetStream(t, c.URL()), log: &logs{}, reg: prometheus.NewRegistry(), ackWait: 5 * time.Second}
	_, err := r.js.CreateStream(r.ctx(), jetstream.StreamConfig{Name: stream, Subjects: []string{subject}, Replicas: 3})
	r.must(err)
	r.addConsumer()
	for i := range messages {
		r.publish(strconv.Itoa(i), nil)
	}
	var seen calls
	run := r.run(func(ctx context.Context, d consumer.Delivery) error {
		seen.add(d)
		pause(ctx, 50*time.Millisecond)
		return nil
	}, func(cfg *consumer.Config, _ *consumer.Lane) {
		cfg.JS = natstest.JetStream(t, c.URL())
	})
	r.eventually("under way", func() bool { return seen.count() > 10 })
	leader := c.ConsumerLeader(stream, durable)
	c.Kill(leader)
	natstest.Eventually(t, time.Minute, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		cons, err := r.js.Consumer(ctx, stream, durable)
		return err == nil && cons.CachedInfo().AckFloor.Stream == messages
	}, "everything acknowledged")
	run.waitReady()
	if again := seen.count() - messages; again > 8 {
		t.Errorf("%d deliveries more than messages, want no more than were under way", again)
	}
}
