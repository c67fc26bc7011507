package consumer_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func endGoroutine() { runtime.Goexit() }

// publishAll publishes n messages, of which a few are not acknowledged yet at any
// time.
func (r *rig) publishAll(n int, data func(i int) string) {
	r.Helper()
	acks := make([]jetstream.PubAckFuture, 0, n)
	for i := range n {
		if i >= 200 {
			r.acknowledged(acks[i-200])
		}
		a, err := r.js.PublishAsync(subject, []byte(data(i)))
		r.must(err)
		acks = append(acks, a)
	}
	for _, a := range acks[max(0, n-200):] {
		r.acknowledged(a)
	}
}

func (r *rig) acknowledged(a jetstream.PubAckFuture) {
	r.Helper()
	select {
	case <-a.Ok():
	case err := <-a.Err():
		r.Fatal(err)
	case <-time.After(soon):
		r.Fatal("publishing takes too long")
	}
}

// TestPoisonBetweenTenThousand: 100 messages that panic, end their goroutine, fail
// for ever or are refused, between 10,000 good ones.
func TestPoisonBetweenTenThousand(t *testing.T) {
	const good, bad = 10_000, 100
	r := newRig(t, 30*time.Second)
	kinds := []string{"panics", "ends", "fails", "refused"}
	r.publishAll(good+bad, func(i int) string {
		if i%(good/bad+1) == 50 {
			return kinds[i%len(kinds)]
		}
		return "good"
	})
	var mu sync.Mutex
	handled := map[uint64]int{}
	begin := time.Now()
	run := r.run(func(_ context.Context, d consumer.Delivery) error {
		switch string(d.Data) {
		case "panics":
			panic(d.Sequence)
		case "ends":
			endGoroutine()
		case "fails":
			return errBoom
		case "refused":
			return fault.Permanent(fault.Rejected, errBoom)
		}
		mu.Lock()
		defer mu.Unlock()
		handled[d.Sequence]++
		return nil
	}, func(_ *consumer.Config, l *consumer.Lane) { l.Slots = 32 })
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(handled)
	}
	r.eventually("all good ones are handled", func() bool { return count() == good })
	took := time.Since(begin)
	r.eventually("all are settled", func() bool { return r.info().AckFloor.Stream == good+bad })
	t.Logf("%d good ones in %s: %.0f a second; all settled after %s", good, took, good/took.Seconds(), time.Since(begin))
	if n := r.deadLetters(); n != bad {
		t.Errorf("%d dead letters, want %d", n, bad)
	}
	mu.Lock()
	defer mu.Unlock()
	for seq, n := range handled {
		if n != 1 {
			t.Errorf("message %d was handled %d times", seq, n)
		}
	}
	if s := run.lane(); !s.Ready || s.Why != "" || s.Hung != 0 {
		t.Errorf("status %+v", s)
	}
}
