package consumer_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/consumer"
)

// pause lets a handler take time; a sleep would be one, but for the context.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func TestHeartbeatsKeepASlowDelivery(t *testing.T) {
	const ackWait = 1500 * time.Millisecond // a stall of a second between two heartbeats is borne
	r := newRig(t, ackWait)
	acks := r.acks()
	r.publish("x", nil)
	var seen calls
	var took atomic.Int64
	r.run(func(ctx context.Context, d consumer.Delivery) error {
		seen.add(d)
		begin := time.Now()
		pause(ctx, 2*ackWait)
		took.Store(int64(time.Since(begin)))
		return nil
	})
	got := acks.WaitVerdicts(t, 1, soon)
	if len(got) != 1 || got[0].Body != "+ACK" || seen.count() != 1 {
		t.Errorf("%d calls, answers %v, want one call and one +ACK", seen.count(), got)
	}
	if n, most := acks.Heartbeats(), int(took.Load()/int64(ackWait/3))+1; n < 3 || n > most {
		t.Errorf("%d heartbeats in two AckWait, want about six and at most %d", n, most)
	}
	if info := r.info(); info.NumRedelivered != 0 || info.NumAckPending != 0 {
		t.Errorf("redelivered %d, pending %d, want none", info.NumRedelivered, info.NumAckPending)
	}
}

func TestDeadlineEndsWorkAndHeartbeats(t *testing.T) {
	const deadline, ackWait = 500 * time.Millisecond, 300 * time.Millisecond
	r := newRig(t, ackWait)
	acks := r.acks()
	r.publish("x", nil)
	causes := make(chan error, 10)
	hang := make(chan struct{})
	var seen calls
	r.run(func(ctx context.Context, d consumer.Delivery) error {
		if seen.add(d) > 1 {
			return nil
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		<-hang // and does not return even now
		return context.Cause(ctx)
	}, func(_ *consumer.Config, l *consumer.Lane) { l.Deadline = deadline })
	if cause := <-causes; !errors.Is(cause, consumer.ErrDeadline) {
		t.Errorf("cause %v, want ErrDeadline", cause)
	}
	// Without heartbeats the server gives the message to somebody else.
	r.eventually("redelivered", func() bool { return seen.count() == 2 })
	heartbeats := 0
	for _, a := range acks.All() {
		if a.Body == "+WPI" && a.Delivered == 1 {
			heartbeats++
		}
	}
	if most := int(deadline/(ackWait/3)) + 1; heartbeats > most {
		t.Errorf("%d heartbeats, want at most %d before the deadline", heartbeats, most)
	}
	close(hang)
}

func TestOnlyFreeSlotsAreFetched(t *testing.T) {
	// Buffered at the client, the last ones would outlive AckWait.
	const ackWait, work, slots, messages = 2 * time.Second, 300 * time.Millisecond, 2, 20
	r := newRig(t, ackWait)
	acks := r.acks()
	for i := range messages {
		r.publish(strconv.Itoa(i), nil)
	}
	var running, most atomic.Int64
	var seen calls
	run := r.run(func(ctx context.Context, d consumer.Delivery) error {
		now := running.Add(1)
		defer running.Add(-1)
		for {
			if m := most.Load(); now <= m || most.CompareAndSwap(m, now) {
				break
			}
		}
		seen.add(d)
		pause(ctx, work)
		return nil
	}, func(_ *consumer.Config, l *consumer.Lane) { l.Slots = slots })
	pending := 0
	r.eventually("all settled", func() bool {
		pending = max(pending, r.info().NumAckPending)
		return len(acks.Verdicts()) == messages
	})
	if seen.count() != messages || most.Load() != slots || pending > slots {
		t.Errorf("%d calls, at most %d at once, at most %d pending; want %d, %d, %d", seen.count(), most.Load(), pending, messages, slots, slots)
	}
	if info := r.info(); info.NumRedelivered != 0 {
		t.Errorf("%d redelivered, want none", info.NumRedelivered)
	}
	r.eventually("nothing in flight", func() bool { return run.lane().InFlight == 0 })
}
