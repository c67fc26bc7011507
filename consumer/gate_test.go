package consumer_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// barrier is a gate that a test opens and closes.
type barrier struct {
	mu     sync.Mutex
	why    string        // "" when open
	few    int           // most that one Wait lets through, 0 for all
	change chan struct{} // closed at every change
}

func newBarrier(why string) *barrier { return &barrier{why: why, change: make(chan struct{})} }

func (b *barrier) set(why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.why = why
	close(b.change)
	b.change = make(chan struct{})
}

// probe lets n through although the gate stays closed.
func (b *barrier) probe(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.few = n
	close(b.change)
	b.change = make(chan struct{})
}

func (b *barrier) Wait(ctx context.Context, n int) int {
	for {
		b.mu.Lock()
		why, change := b.why, b.change
		if b.few > 0 {
			few := b.few
			b.few = 0
			b.mu.Unlock()
			return min(few, n)
		}
		b.mu.Unlock()
		if why == "" {
			return n
		}
		select {
		case <-ctx.Done():
			return 0
		case <-change:
		}
	}
}

func (b *barrier) Closed() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.why
}

// pulls counts the pulls that reach the server.
func (r *rig) pulls() func() int {
	r.Helper()
	var mu sync.Mutex
	n := 0
	nc := natstest.Connect(r.T, r.srv.URL())
	_, err := nc.Subscribe("$JS.API.CONSUMER.MSG.NEXT."+stream+"."+durable, func(*nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		n++
	})
	r.must(err)
	r.must(nc.Flush())
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

func gated(b *barrier) func(*consumer.Config, *consumer.Lane) {
	return func(_ *consumer.Config, l *consumer.Lane) { l.Gate = b }
}

func TestClosedGateHoldsNothing(t *testing.T) {
	r := newRig(t, 30*time.Second)
	pulls, gate := r.pulls(), newBarrier("finX throttles until noon")
	for i := range 20 {
		r.publish(strconv.Itoa(i), nil)
	}
	arrived := make(chan time.Time, 100)
	run := r.run(func(context.Context, consumer.Delivery) error {
		arrived <- time.Now()
		return nil
	}, gated(gate))
	run.waitWhy("finX throttles until noon")
	r.eventually("the metric says so", func() bool {
		return metric(t, r, "gate_closed", nil) == 1 && metric(t, r, "lane_ready", nil) == 0
	})
	pause(t.Context(), 300*time.Millisecond)
	if info := r.info(); pulls() != 0 || info.NumWaiting != 0 || info.NumAckPending != 0 {
		t.Errorf("%d pulls sent, %d waiting, %d pending at a closed gate, want none", pulls(), info.NumWaiting, info.NumAckPending)
	}
	opened := time.Now()
	gate.set("")
	if took := (<-arrived).Sub(opened); took > 2*time.Second {
		t.Errorf("the first delivery came %s after the gate opened, want milliseconds", took)
	} else {
		t.Logf("the first delivery came %s after the gate opened", took)
	}
	run.waitReady()
	r.eventually("all handled", func() bool { return r.info().AckFloor.Stream == 20 })
	if metric(t, r, "gate_closed", nil) != 0 || metric(t, r, "lane_ready", nil) != 1 {
		t.Error("the metrics do not say that the gate is open")
	}
}

// TestGateClosesUnderAnOpenPull: the pull is dropped, and no delivery is lost or
// counted as an attempt by that.
func TestGateClosesUnderAnOpenPull(t *testing.T) {
	r := newRig(t, time.Hour) // what got lost would not come back within the test
	pulls, gate := r.pulls(), newBarrier("")
	var seen calls
	run := r.run(func(_ context.Context, d consumer.Delivery) error {
		if seen.add(d); d.Attempt != 1 {
			t.Errorf("attempt %d", d.Attempt)
		}
		return nil
	}, gated(gate))
	run.waitReady()
	r.eventually("a pull is open", func() bool { return r.info().NumWaiting == 1 })
	gate.set("Vault is sealed")
	run.waitWhy("Vault is sealed")
	r.publish("on its way", nil) // while the pull is still listened to
	r.eventually("no pull is open", func() bool { return r.info().NumWaiting == 0 })
	before := pulls()
	pause(t.Context(), 300*time.Millisecond)
	if pulls() != before || seen.count() != 0 {
		t.Errorf("%d more pulls, %d handled while closed", pulls()-before, seen.count())
	}
	gate.set("")
	r.eventually("handled", func() bool { return seen.count() == 1 })
}

// TestGateLetsOneThrough: a gate that asks for one delivery gets one.
func TestGateLetsOneThrough(t *testing.T) {
	r := newRig(t, 30*time.Second)
	gate := newBarrier("finX does not answer")
	for i := range 10 {
		r.publish(strconv.Itoa(i), nil)
	}
	var seen calls
	run := r.run(counting(&seen), gated(gate))
	run.waitWhy("finX does not answer")
	for want := 1; want <= 2; want++ {
		gate.probe(1)
		r.eventually("one handled", func() bool { return int(r.info().AckFloor.Stream) == want })
		pause(t.Context(), 100*time.Millisecond)
		if seen.count() != want || run.lane().Ready {
			t.Errorf("%d handled, ready %t; want %d and a closed gate", seen.count(), run.lane().Ready, want)
		}
	}
	gate.set("")
	r.eventually("all handled", func() bool { return seen.count() == 10 })
}

func TestDrainAtAClosedGateIsImmediate(t *testing.T) {
	r := newRig(t, 30*time.Second)
	var seen calls
	run := r.run(counting(&seen), gated(newBarrier("finX does not answer")))
	run.waitWhy("finX does not answer")
	begin := time.Now()
	run.stop()
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("run returned after %s, want at once", took)
	} else {
		t.Logf("run returned after %s", took)
	}
}
