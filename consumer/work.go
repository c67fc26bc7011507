package consumer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// returnGrace is how long after the end of its time a handler may take to return
// before its message is given up, at most; and never longer than until the message
// would be delivered again.
const returnGrace = 5 * time.Second

// errHung is what becomes of a handler that does not return when its time is over.
var errHung = errors.New("consumer: handling a delivery: the handler did not return when its time was over")

// errEarly says that a delivery came back before the time it was told to wait for.
var errEarly = errors.New("consumer: handling a delivery: it was told to come later")

// work is one delivery under way.
type work struct {
	lane       *lane // that handles it
	from       *lane // that took it: another one when it was parked
	msg        jetstream.Msg
	d          Delivery
	delivered  int    // the server's count, this delivery included
	notes      *notes // where its note is,
	key        uint64 // and under which sequence
	note       note   // as it was at the beginning
	base       int    // attempts before it was parked
	heartbeat  time.Duration
	begun      time.Time
	speechless bool // no last words are said for it

	span    telemetry.Span
	carry   telemetry.Remote // its span, or what stands for it where none is recorded
	earlier telemetry.Remote // that of the attempt before
}

// receive makes a delivery of what the server sent, nil when it is none.
func (l *lane) receive(ctx context.Context, b *binding, msg jetstream.Msg) *work {
	meta, err := msg.Metadata()
	if err != nil {
		l.log.ErrorContext(ctx, "delivery without metadata ignored", "subject", msg.Subject(), "error", err)
		return nil
	}
	delivered := int(meta.NumDelivered) //nolint:gosec // a count of deliveries stays far below the limit
	seq := meta.Sequence.Stream
	w := &work{
		lane: l, from: l, msg: msg, delivered: delivered, heartbeat: b.heartbeat, begun: time.Now(),
		notes: l.notes, key: seq, note: l.notes.get(seq, delivered),
	}
	w.earlier = w.note.trace
	w.d = Delivery{
		Message: events.Message{
			Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data(),
			Stream: meta.Stream, Sequence: seq, Time: meta.Timestamp,
		},
		Attempt: w.note.attempt(delivered), FirstFailure: w.note.first,
	}
	l.cfg.Metrics.received(l.Name, delivered > 1)
	return w
}

// start begins the work on a delivery in a goroutine of its own, which gives the
// slot back that was taken for it.
func (l *lane) start(ctx context.Context, w *work) {
	leave := l.inFlight.add(w.d.Time)
	l.work.Go(func() {
		defer l.release()
		defer leave()
		w.do(ctx)
	})
}

// startLate is start for a delivery whose slot has been given to another.
func (l *lane) startLate(ctx context.Context, w *work) {
	l.work.Go(func() { w.await(ctx, l.slots, nil) })
}

// do hands the delivery over when it was parked, and handles it otherwise.
func (w *work) do(ctx context.Context) {
	if w.lane.Parked && isParked(w.lane.cfg.Codec, w.d.Subject) {
		w.resume(ctx)
		return
	}
	w.run(ctx)
}

// run handles the delivery and settles it. ctx is the context of all work: it
// outlives the intake and is cancelled with ErrShutdown.
func (w *work) run(ctx context.Context) {
	l := w.lane
	if err := w.early(time.Now()); err != nil {
		w.settle(ctx, err, context.Cause(ctx))
		return
	}
	ctx = w.trace(ctx)
	leave, err := l.suspicion.enter(ctx, w)
	if err != nil {
		leave(w.settle(ctx, err, nil).Kind == DeadLetter)
		return
	}
	stop := w.keepAlive(l.Deadline)
	hctx, cancel := context.WithTimeoutCause(ctx, l.Deadline, ErrDeadline)
	defer cancel()
	hung := w.watch(func() {
		leave(false)
		w.abandon(ctx, context.Cause(hctx))
	})
	returned := false
	// Also when the handler panics, or ends its goroutine: that is a failed attempt,
	// not the end of the process, or one bad message would stop every lane in every
	// replica in turn.
	defer func() {
		if !returned {
			err = w.panicked(ctx, recover())
		}
		cause := context.Cause(hctx)
		stop()
		l.cfg.Metrics.handled(l.Name, time.Since(w.begun))
		if hung() {
			l.log.WarnContext(ctx, "handler returned after its message was given up", "stream", w.d.Stream, "sequence", w.d.Sequence,
				"succeeded", err == nil, "duration", time.Since(w.begun))
			return
		}
		w.settle(ctx, err, cause)
		leave(true)
	}()
	err = l.Handle(hctx, w.d)
	returned = true
}

// watch calls giveUp when the handler does not return in time. The function it
// returns is for when the handler has returned, and reports whether that was too
// late; giveUp has returned then.
func (w *work) watch(giveUp func()) (late func() bool) {
	done := make(chan struct{})
	timer := time.AfterFunc(w.lane.Deadline+min(returnGrace, w.heartbeat), func() {
		defer close(done)
		w.lane.status.hang(1)
		giveUp()
	})
	return func() bool {
		if timer.Stop() {
			return false
		}
		<-done
		w.lane.status.hang(-1)
		return true
	}
}

// abandon settles a delivery whose handler does not return. The handler keeps its
// slot: it may be at work on anything, and as many more of it would be no remedy.
func (w *work) abandon(ctx context.Context, cause error) {
	w.lane.log.ErrorContext(ctx, "handler does not return, its message is given up", "stream", w.d.Stream, "sequence", w.d.Sequence)
	w.settle(ctx, errHung, cause)
}

// panicked makes an error of what a handler panicked with: nil when it ended its
// goroutine.
func (w *work) panicked(ctx context.Context, p any) error {
	err := panicError(p)
	w.lane.cfg.Metrics.panicked(w.lane.Name)
	w.lane.log.ErrorContext(ctx, "handler panicked", "stream", w.d.Stream, "sequence", w.d.Sequence,
		"error", err, "stack", string(debug.Stack()))
	return err
}

// panicError names what a handler panicked with. Only the runtime's own texts are
// taken over; any other value may quote the message.
func panicError(p any) error {
	if p == nil {
		return errors.New("consumer: handling a delivery: the handler ended its goroutine")
	}
	if re, ok := p.(runtime.Error); ok {
		return fmt.Errorf("consumer: handling a delivery: panic: %w", re)
	}
	return fmt.Errorf("consumer: handling a delivery: panic with a %T", p)
}

// keepAlive tells the server every heartbeat that the message is being worked on,
// for no longer than limit: a handler that hangs must not own its message for
// ever. The returned function stops it and waits until nothing more is sent. Nobody
// waits on a goroutine meanwhile: there may be thousands of messages.
func (w *work) keepAlive(limit time.Duration) (stop func()) {
	end := time.Now().Add(limit)
	var mu sync.Mutex // held while a heartbeat is sent
	var timer *time.Timer
	stopped := false
	beat := func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped || !time.Now().Before(end) {
			return
		}
		// A lost one is made up for by the next; a longer gap means a second
		// delivery, which handlers must bear anyway.
		w.lane.cfg.Metrics.heartbeat(w.lane.Name, w.msg.InProgress() == nil)
		timer.Reset(w.heartbeat)
	}
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(w.heartbeat, beat)
	return func() {
		timer.Stop()
		mu.Lock()
		defer mu.Unlock()
		stopped = true
	}
}
