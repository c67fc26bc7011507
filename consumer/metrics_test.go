package consumer_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/finx-connector/finx-connector/consumer"
)

func TestMetricsWhileAndAfterWork(t *testing.T) {
	r := newRig(t, 1500*time.Millisecond)
	r.publish("x", nil)
	begun, release := make(chan struct{}), make(chan struct{})
	run := r.run(func(context.Context, consumer.Delivery) error {
		close(begun)
		<-release
		return nil
	})
	<-begun
	r.eventually("two heartbeats", func() bool { return metric(t, r, "heartbeats_total", map[string]string{"result": "sent"}) >= 2 })
	if got := metric(t, r, "in_flight", nil); got != 1 || run.lane().InFlight != 1 {
		t.Errorf("in_flight %v, status %d, want 1", got, run.lane().InFlight)
	}
	before := metric(t, r, "oldest_unacked_seconds", nil)
	if before < 0.15 || before > 60 {
		t.Errorf("oldest_unacked_seconds %v after two heartbeats", before)
	}
	r.eventually("it ages by itself", func() bool { return metric(t, r, "oldest_unacked_seconds", nil) > before })
	close(release)
	r.eventually("nothing in flight", func() bool { return metric(t, r, "in_flight", nil) == 0 })
	if got := metric(t, r, "oldest_unacked_seconds", nil); got != 0 {
		t.Errorf("oldest_unacked_seconds %v with nothing in flight, want 0", got)
	}
	for name, want := range map[string]float64{"received_total": 1, "redelivered_total": 0, "panics_total": 0} {
		if got := metric(t, r, name, nil); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

func TestMetricsFollowTheConventions(t *testing.T) {
	reg := prometheus.NewRegistry()
	consumer.NewMetrics(reg, "connects", "callbacks")
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if n := testutil.CollectAndCount(reg, "finx_connector_consumer_dead_letters_total"); n != 2*7 {
		t.Errorf("%d series of dead letters, want every class of both lanes", n)
	}
}
