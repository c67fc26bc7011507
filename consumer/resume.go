package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/telemetry"
)

const (
	// How many deliveries may wait for a slot of their lane, twice the slots within
	// these bounds: enough to keep the slots busy, little enough to be held in memory.
	minQueue = 16
	maxQueue = 64
	// queuePatience is how long one waits. Another process may have room by then.
	queuePatience = time.Minute
)

// queue is where deliveries that came due wait for a slot of their own lane.
type queue struct {
	grants  chan struct{} // each is a taken slot that is handed over
	most    int32
	waiting atomic.Int32
}

func newQueue(slots int) *queue {
	return &queue{grants: make(chan struct{}), most: int32(min(max(2*slots, minQueue), maxQueue))}
}

// enter takes a place, if there is one.
func (q *queue) enter() bool {
	if q.waiting.Add(1) > q.most {
		q.waiting.Add(-1)
		return false
	}
	return true
}

func (q *queue) leave() { q.waiting.Add(-1) }

// resume takes what came due back to where it was parked: the message is read from
// its stream and waits for a slot of its own lane. It is settled like any other
// delivery of that lane, but the answer goes to what came due. This lane's slot is
// free when resume returns.
func (w *work) resume(ctx context.Context) {
	due := w.lane
	stop := w.keepAlive(readWithin + storeWithin)
	defer stop()
	r, err := parseReference(due.cfg.Codec, w.d.Subject, w.d.Data)
	if errors.Is(err, errNewer) {
		err = fault.Throttled("", time.Now().Add(due.cfg.RetryDelayMax), err)
	}
	if err != nil {
		w.settle(ctx, err, nil)
		return
	}
	lane, ok := due.lanes[r.Lane]
	if !ok {
		// Another version of the program may know it.
		err := fmt.Errorf("consumer: resuming %s %d: there is no lane %s", r.Stream, r.Sequence, r.Lane)
		due.status.read(r.Lane, err)
		w.settle(ctx, fault.Throttled("", time.Now().Add(due.cfg.RetryDelayMax), err), nil)
		return
	}
	due.status.read(r.Lane, nil)
	back := w.of(lane, r)
	if !lane.queue.enter() {
		back.settle(ctx, errBusy, context.Cause(ctx))
		return
	}
	m, err := due.reader.read(ctx, r.Stream, r.Sequence)
	if err == nil && !r.isOf(m) {
		err = errGone
	}
	gone := errors.Is(err, errGone)
	if err == nil || gone {
		due.status.read(r.Stream, nil)
	}
	if err != nil {
		lane.queue.leave()
		switch {
		case gone && r.isDue(due.cfg.Codec):
			err = nil // the next one of its connection took its place, and is handled instead
		case gone:
			err = fault.Permanent(fault.Expired, err)
		default:
			due.status.read(r.Stream, err)
		}
		back.settle(ctx, err, context.Cause(ctx))
		return
	}
	back.d.Message = m
	due.cfg.Metrics.handedOver(lane.Name)
	due.work.Go(func() {
		defer lane.queue.leave()
		back.await(ctx, nil, lane.queue.grants)
	})
}

// of is the delivery of what came due as one of the message that was parked.
func (w *work) of(l *lane, r reference) *work {
	back := &work{
		lane: l, from: w.from, msg: w.msg, delivered: w.delivered, heartbeat: w.heartbeat, begun: w.begun,
		notes: l.resumed, key: w.d.Sequence, base: r.Attempts,
	}
	if back.note = back.notes.get(back.key, w.delivered); back.note == (note{}) {
		back.note = back.notes.seed(back.key, note{failures: r.Failures, tries: r.Tries, first: r.FirstFailure}, time.Now())
	}
	parked := w.d.Message.TraceParent()
	back.earlier = telemetry.Remote{TraceParent: cmp.Or(back.note.trace.TraceParent, parked), TraceState: back.note.trace.TraceState}
	back.d = Delivery{
		Message: events.Message{Subject: r.Subject, Stream: r.Stream, Sequence: r.Sequence, Time: r.StoredAt},
		Attempt: back.base + back.note.attempt(w.delivered), FirstFailure: back.note.first,
	}
	return back
}

// await holds the delivery, with heartbeats, until it has a slot: one that it takes
// or one that it is granted. It goes back when the lane ends first, or when it takes
// too long.
func (w *work) await(ctx context.Context, take chan<- struct{}, granted <-chan struct{}) {
	l := w.lane
	stop := w.keepAlive(queuePatience + settleGrace)
	patience := time.NewTimer(queuePatience)
	defer patience.Stop()
	select {
	case take <- struct{}{}:
	case <-granted:
	case <-l.ended:
		stop()
		w.settle(ctx, errBusy, ErrShutdown)
		return
	case <-patience.C:
		stop()
		w.settle(ctx, errBusy, nil)
		return
	}
	stop()
	defer l.release()
	leave := l.inFlight.add(w.d.Time)
	defer leave()
	w.do(ctx)
}
