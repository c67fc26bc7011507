package publisher

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// broker is a server with a file store that can be taken down and brought back.
type broker struct {
	url        string
	down, back func()
}

// brokers are the ways a broker can go: told to, and by SIGKILL.
func brokers() map[string]func(t *testing.T) broker {
	return map[string]func(t *testing.T) broker{
		"stopped": func(t *testing.T) broker {
			t.Helper()
			s := natstest.Start(t)
			return broker{s.URL(), s.Stop, s.Restart}
		},
		"killed": func(t *testing.T) broker {
			t.Helper()
			p := natstest.ExternalProcess(t)
			return broker{p.URL(), p.Kill, p.Start}
		},
	}
}

// TestTimersOutliveTheBroker: one set two months ahead is there after a restart,
// for the same second, and is not due; one set for soon comes due.
func TestTimersOutliveTheBroker(t *testing.T) {
	t.Parallel()
	for way, start := range brokers() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			js := natstest.JetStream(t, b.url)
			s := createStream(t, js, timersStream())
			p := newPublisher(t, Config{JS: js})
			far := time.Now().Add(75 * 24 * time.Hour)
			if err := p.ScheduleKeepAlive(t.Context(), connectionID, far); err != nil {
				t.Fatal(err)
			}
			b.down()
			b.back()
			natstest.WaitStreamLeader(t, js, events.StreamTimers)
			msg, err := s.GetLastMsgForSubject(t.Context(), "finx.timer.keepalive."+connectionID)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse("@at "+time.RFC3339, msg.Header.Get(jetstream.ScheduleHeader))
			if err != nil || at.Before(far) || at.Sub(far) >= time.Second {
				t.Errorf("due at %v, %v, want the second from %v", at, err, far)
			}
			if err := p.ScheduleSync(t.Context(), connectionID, time.Now(), request()); err != nil {
				t.Fatal(err)
			}
			c := due(t, js)
			if m := next(t, c, 30*time.Second); m.Subject() != "finx.due.sync."+connectionID {
				t.Errorf("%s is due", m.Subject())
			}
			if m, err := c.Next(jetstream.FetchMaxWait(1500 * time.Millisecond)); err == nil {
				t.Errorf("%s is due", m.Subject())
			}
			if n, err := p.CancelSchedule(t.Context(), connectionID); n != 1 || err != nil {
				t.Errorf("cancelled %d, %v", n, err)
			}
		})
	}
}

// TestTimersOfADowntimeAllFire: those that came due while the broker was down come
// due when it is back, each once. Their order is shown and not asked for; with
// 2.15 it is that in which they were set, whatever their times.
func TestTimersOfADowntimeAllFire(t *testing.T) {
	t.Parallel()
	const timers, spread = 200, 4
	for way, start := range brokers() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			js := natstest.JetStream(t, b.url)
			createStream(t, js, timersStream())
			p := newPublisher(t, Config{JS: js})
			base := time.Now().Add(3 * time.Second).Truncate(time.Second)
			seconds, set := rand.New(rand.NewPCG(1, 2)).Perm(timers), map[string]int{}
			for i := range timers {
				id := events.UUIDv5("downtime", strconv.Itoa(i))
				set["finx.due.keepalive."+id] = i
				if err := p.ScheduleKeepAlive(t.Context(), id, base.Add(time.Duration(seconds[i]%spread)*time.Second)); err != nil {
					t.Fatal(err)
				}
			}
			b.down()
			last := base.Add(spread * time.Second)
			natstest.Eventually(t, time.Minute, func() bool { return time.Now().After(last) }, "all are due")
			b.back()
			natstest.WaitStreamLeader(t, js, events.StreamTimers)
			backAt, c := time.Now(), due(t, js)
			var bySetting, byTime []int
			for range timers {
				msg := next(t, c, 30*time.Second)
				i, known := set[msg.Subject()]
				if !known {
					t.Fatalf("%s came due twice, or was never set", msg.Subject())
				}
				delete(set, msg.Subject())
				bySetting, byTime = append(bySetting, i), append(byTime, seconds[i]%spread)
			}
			t.Logf("%d within %v; steps back: %d in the order of setting, %d in the order of their times",
				timers, time.Since(backAt).Round(time.Millisecond), stepsBack(bySetting), stepsBack(byTime))
			if extra, err := c.Next(jetstream.FetchMaxWait(time.Second)); err == nil {
				t.Errorf("%s came due as well", extra.Subject())
			}
		})
	}
}

// stepsBack counts the neighbours that are in the wrong order.
func stepsBack(list []int) int {
	n := 0
	for i := 1; i < len(list); i++ {
		if list[i] < list[i-1] {
			n++
		}
	}
	return n
}

// TestTimersSurviveTheLossOfALeader is TestTimersOutliveTheBroker for a cluster: the
// node that leads the timers goes away before one is due, and it fires all the same.
func TestTimersSurviveTheLossOfALeader(t *testing.T) {
	cluster := natstest.Cluster(t, 3)
	js := natstest.JetStream(t, cluster.URL())
	cfg := timersStream()
	cfg.Replicas = 3
	createStream(t, js, cfg)
	p := newPublisher(t, Config{JS: js})
	at := time.Now().Add(2 * time.Second)
	if err := p.ScheduleKeepAlive(t.Context(), connectionID, at); err != nil {
		t.Fatal(err)
	}
	cluster.Kill(cluster.StreamLeader(events.StreamTimers))
	natstest.WaitStreamLeader(t, js, events.StreamTimers)
	var c jetstream.Consumer
	natstest.Eventually(t, 30*time.Second, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var err error
		c, err = js.CreateOrUpdateConsumer(ctx, events.StreamTimers, jetstream.ConsumerConfig{
			Durable: "due", AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "finx.due.>",
		})
		return err == nil
	}, "the consumer is there")
	if msg := next(t, c, 30*time.Second); msg.Subject() != "finx.due.keepalive."+connectionID || time.Now().Before(at) {
		t.Errorf("%s at %v, want one after %v", msg.Subject(), time.Now(), at)
	}
	if extra, err := c.Next(jetstream.FetchMaxWait(1500 * time.Millisecond)); err == nil {
		t.Errorf("%s came due as well", extra.Subject())
	}
}
