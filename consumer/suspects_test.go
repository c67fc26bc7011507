package consumer_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/consumer"
)

// counts are Suspects in memory.
type counts struct {
	mu       sync.Mutex
	away     error
	begun    map[string]int
	asked    int
	returned int
}

func (c *counts) Begun(_ context.Context, stream string, sequence uint64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.away != nil {
		return 0, c.away
	}
	key := stream + "." + strconv.FormatUint(sequence, 10)
	c.begun[key]++
	return c.begun[key], nil
}

func (c *counts) Returned(_ context.Context, stream string, sequence uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.returned++
	delete(c.begun, stream+"."+strconv.FormatUint(sequence, 10))
	return c.away
}

func (c *counts) state() (asked, returned, open int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked, c.returned, len(c.begun)
}

func suspects(s consumer.Suspects) func(*consumer.Config, *consumer.Lane) {
	return func(c *consumer.Config, _ *consumer.Lane) { c.Suspects = s }
}

// deliver has n messages delivered this many times to somebody who does nothing.
func (r *rig) deliver(n, times int) {
	r.Helper()
	c, err := r.js.Consumer(r.ctx(), stream, durable)
	r.must(err)
	for range times {
		batch, err := c.Fetch(n, jetstream.FetchMaxWait(soon))
		r.must(err)
		got := 0
		for m := range batch.Messages() {
			got++
			r.must(m.NakWithDelay(time.Millisecond))
		}
		if got != n {
			r.Fatalf("%d deliveries, want %d: %v", got, n, batch.Error())
		}
	}
}

func TestSuspectsAreNotedAndCleared(t *testing.T) {
	r := newRig(t, 30*time.Second)
	store := &counts{begun: map[string]int{}}
	r.publishMany(5)
	r.deliver(5, 3)
	r.publishMany(5) // above suspicion
	var seen calls
	r.run(func(_ context.Context, d consumer.Delivery) error {
		if n := seen.add(d); n < 6 && d.Sequence == 10 {
			return errBoom // delivered often, but this process knows why
		}
		return nil
	}, suspects(store), func(_ *consumer.Config, l *consumer.Lane) { l.MaxAttempts = 20 })
	r.eventually("all handled", func() bool { return r.info().AckFloor.Stream == 10 })
	r.eventually("cleared", func() bool { _, returned, _ := store.state(); return returned == 5 })
	if asked, _, open := store.state(); asked != 5 || open != 0 {
		t.Errorf("%d noted, %d notes left; want 5 and none", asked, open)
	}
}

func TestStoreOfSuspectsIsAway(t *testing.T) {
	r := newRig(t, 30*time.Second)
	r.publishMany(3)
	r.deliver(3, 4)
	var seen calls
	r.run(counting(&seen), suspects(&counts{away: errors.New("no answer")}))
	r.eventually("all handled", func() bool { return r.info().AckFloor.Stream == 3 && seen.count() == 3 })
}

func TestSuspectThatEndedTenProcesses(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	r.publish("x", nil)
	r.deliver(1, 13)
	store := &counts{begun: map[string]int{stream + ".1": 10}}
	var seen calls
	r.run(counting(&seen), suspects(store))
	r.eventually("terminated", ended(acks, "+TERM exhausted"))
	if text := r.deadLetter(1).Header.Get(consumer.HeaderError); !strings.Contains(text, "the process ended 10 times while handling it") || seen.count() != 0 {
		t.Errorf("error %q, %d calls", text, seen.count())
	}
	r.eventually("the note is gone", func() bool { _, _, open := store.state(); return open == 0 })
}

// TestSuspectsOfADeathAreAlone: who was there when a process ended is handled with
// no other suspect beside it; the others, and who is above suspicion, go on.
func TestSuspectsOfADeathAreAlone(t *testing.T) {
	const suspected = 12
	r := newRig(t, 30*time.Second)
	store := &counts{begun: map[string]int{}}
	r.publishMany(suspected)
	r.deliver(suspected, 5)
	for seq := range 4 { // the first four were there
		store.begun[stream+"."+strconv.Itoa(seq+1)] = 1
	}
	r.publishMany(20)
	var inside, alone atomic.Int32
	var together atomic.Bool
	var seen calls
	r.run(func(ctx context.Context, d consumer.Delivery) error {
		seen.add(d)
		switch {
		case d.Sequence <= 4:
			if alone.Add(1) != 1 || inside.Load() != 0 {
				t.Errorf("%d is not alone", d.Sequence)
			}
			pause(ctx, 50*time.Millisecond)
			alone.Add(-1)
		case d.Sequence <= suspected:
			if inside.Add(1) > 1 {
				together.Store(true)
			}
			if alone.Load() != 0 {
				t.Errorf("%d is beside one that must be alone", d.Sequence)
			}
			pause(ctx, 50*time.Millisecond)
			inside.Add(-1)
		}
		return nil
	}, suspects(store), func(_ *consumer.Config, l *consumer.Lane) { l.Slots = 16 })
	r.eventually("all handled", func() bool { return r.info().AckFloor.Stream == suspected+20 })
	if seen.count() != suspected+20 || !together.Load() {
		t.Errorf("%d calls, those of a first suspicion together: %t", seen.count(), together.Load())
	}
}
