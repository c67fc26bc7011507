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
)

// work is one delivery under way.
type work struct {
	lane      *lane
	msg       jetstream.Msg
	d         Delivery
	delivered int // the server's count, this delivery included
	note      note
	heartbeat time.Duration
	begun     time.Time
}

// start begins the work on a delivery in a goroutine of its own. It takes over
// one taken slot and reports whether it did.
func (l *lane) start(ctx context.Context, b *binding, msg jetstream.Msg) bool {
	meta, err := msg.Metadata()
	if err != nil {
		l.log.ErrorContext(ctx, "delivery without metadata ignored", "subject", msg.Subject(), "error", err)
		return false
	}
	delivered := int(meta.NumDelivered) //nolint:gosec // a count of deliveries stays far below the limit
	seq := meta.Sequence.Stream
	w := &work{lane: l, msg: msg, delivered: delivered, note: l.notes.get(seq, delivered), heartbeat: b.heartbeat, begun: time.Now()}
	w.d = Delivery{
		Message: events.Message{
			Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data(),
			Stream: meta.Stream, Sequence: seq, Time: meta.Timestamp,
		},
		Attempt: w.note.attempt(delivered),
	}
	l.cfg.Metrics.received(l.Name, delivered > 1)
	leave := l.inFlight.add(meta.Timestamp)
	l.work.Go(func() {
		defer l.release()
		defer leave()
		w.run(ctx)
	})
	return true
}

// run handles the delivery and settles it. ctx is the context of all work: it
// outlives the intake and is cancelled with ErrShutdown.
func (w *work) run(ctx context.Context) {
	l := w.lane
	stop := w.keepAlive(context.WithoutCancel(ctx), l.Deadline)
	hctx, cancel := context.WithTimeoutCause(ctx, l.Deadline, ErrDeadline)
	err := w.call(hctx)
	cause := context.Cause(hctx)
	cancel()
	stop()
	l.cfg.Metrics.handled(l.Name, time.Since(w.begun))
	w.settle(ctx, err, cause)
}

// call runs the handler. A panic is a failed attempt, not the end of the
// process: one bad message must not stop every lane in every replica in turn.
func (w *work) call(ctx context.Context) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		p := recover() // nil when the handler ended its goroutine
		err = panicError(p)
		w.lane.cfg.Metrics.panicked(w.lane.Name)
		w.lane.log.ErrorContext(ctx, "handler panicked", "stream", w.d.Stream, "sequence", w.d.Sequence,
			"error", err, "stack", string(debug.Stack()))
	}()
	err = w.lane.Handle(ctx, w.d)
	returned = true
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
// ever. The returned function stops it and waits until nothing more is sent.
func (w *work) keepAlive(ctx context.Context, limit time.Duration) (stop func()) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(w.heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				// A lost one is made up for by the next; a longer gap means a second
				// delivery, which handlers must bear anyway.
				w.lane.cfg.Metrics.heartbeat(w.lane.Name, w.msg.InProgress() == nil)
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}
