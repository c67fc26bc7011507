package publisher

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestLeaderKilled publishes from several goroutines while the node that leads
// the stream goes away, and again while its successor does.
func TestLeaderKilled(t *testing.T) {
	cluster := natstest.Cluster(t, 3)
	js := natstest.JetStream(t, cluster.URL())
	cfg := eventsStream()
	cfg.Replicas = 3
	s := createStream(t, js, cfg)
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, Metrics: metrics})
	const each, workers = 400, 4
	var mu sync.Mutex
	acked := map[string]bool{}
	half := make(chan struct{})
	once, wg := sync.Once{}, sync.WaitGroup{}
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				o := output(w*each + i)
				if _, err := p.Publish(t.Context(), o); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acked[o.ID] = true
				mu.Unlock()
				if i == each/4 {
					once.Do(func() { close(half) })
				}
			}
		})
	}
	<-half
	leader := cluster.StreamLeader(events.StreamEvents)
	cluster.Kill(leader)
	natstest.WaitStreamLeader(t, js, events.StreamEvents)
	wg.Wait()
	cluster.Restart(leader)
	if len(acked) != each*workers {
		t.Fatalf("%d of %d acked", len(acked), each*workers)
	}
	natstest.Eventually(t, 30*time.Second, func() bool {
		info, err := s.Info(context.WithoutCancel(t.Context()))
		return err == nil && info.State.Msgs == each*workers
	}, "every acked event is stored once")
	retries := 0.0
	for _, r := range reasons() {
		n := testutil.ToFloat64(metrics.retries.WithLabelValues(string(r)))
		if n > 0 {
			t.Logf("%v repeats for %s", n, r)
		}
		retries += n
	}
	t.Logf("%d acked, %v repeats, %v duplicates", len(acked), retries,
		testutil.ToFloat64(metrics.events.WithLabelValues(events.TypeConnectionEstablished, "duplicate")))
	if retries == 0 {
		t.Error("the kill went unnoticed: the test shows nothing")
	}
}

// TestLateAckIsADuplicate stops the broker's process in mid-air: the first
// attempt runs out of time, is stored all the same when the broker goes on, and
// the repeat must find it.
func TestLateAckIsADuplicate(t *testing.T) {
	broker := natstest.ExternalProcess(t)
	js := natstest.JetStream(t, broker.URL())
	s := createStream(t, js, eventsStream())
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, AttemptTimeout: 200 * time.Millisecond, Metrics: metrics})
	broker.Pause()
	natstest.Eventually(t, 10*time.Second, func() bool {
		return js.Conn().FlushTimeout(time.Second) != nil // the signal takes its time
	}, "the broker stands still")
	type result struct {
		receipt Receipt
		err     error
	}
	done := make(chan result, 1)
	go func() {
		r, err := p.Publish(t.Context(), output(1))
		done <- result{r, err}
	}()
	natstest.Eventually(t, 10*time.Second, func() bool {
		return testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonTimeout))) > 0
	}, "the first attempt ran out of time")
	broker.Resume()
	if r := <-done; r.err != nil || !r.receipt.Duplicate || r.receipt.Sequence != 1 {
		t.Errorf("%+v, %v", r.receipt, r.err)
	}
	if n := stored(t, s); n != 1 {
		t.Errorf("%d stored", n)
	}
	if n := testutil.ToFloat64(metrics.events.WithLabelValues(events.TypeConnectionEstablished, "duplicate")); n != 1 {
		t.Errorf("%v duplicates counted", n)
	}
}

// TestBrokerKilledAndBack: an event published while the broker is down is
// stored when it is back, and one acked before the SIGKILL is still there.
func TestBrokerKilledAndBack(t *testing.T) {
	broker := natstest.ExternalProcess(t)
	js := natstest.JetStream(t, broker.URL())
	s := createStream(t, js, eventsStream())
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, AttemptTimeout: time.Second, Metrics: metrics})
	if _, err := p.Publish(t.Context(), output(1)); err != nil {
		t.Fatal(err)
	}
	broker.Kill()
	done := make(chan error, 1)
	go func() {
		_, err := p.Publish(t.Context(), output(2))
		done <- err
	}()
	natstest.Eventually(t, 20*time.Second, func() bool {
		return testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonDisconnected)))+
			testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonTimeout))) > 0
	}, "the publisher waits for the broker")
	broker.Start()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := stored(t, s); n != 2 {
		t.Errorf("%d stored", n)
	}
}
