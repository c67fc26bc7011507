package consumer

import (
	"context"
	"fmt"
	"time"
)

const (
	// remindEvery is how often a drain that waits for handlers says so.
	remindEvery = 10 * time.Second
	// flushWithin bounds the wait for the server to have read the last answers.
	flushWithin = 5 * time.Second
	// settleGrace is how long answers may be retried after work was cancelled.
	settleGrace = 5 * time.Second
)

// drain waits for the work under way: DrainTimeout by itself, then cancelled.
func (c *Consumer) drain(ctx context.Context, stop context.CancelCauseFunc) {
	done := make(chan struct{})
	go func() {
		c.work.Wait()
		close(done)
	}()
	limit := time.NewTimer(c.cfg.DrainTimeout)
	defer limit.Stop()
	select {
	case <-done:
		return
	case <-limit.C:
	}
	stop(ErrShutdown)
	for {
		remind := time.NewTimer(remindEvery)
		select {
		case <-done:
			remind.Stop()
			return
		case <-remind.C:
			for _, l := range c.lanes {
				if n := l.inFlight.count(); n > 0 {
					c.cfg.Logger.ErrorContext(ctx, "shutdown waits for handlers that do not return", "lane", l.Name, "in_flight", n)
				}
			}
		}
	}
}

// flush makes sure that the answers sent without waiting have left the process.
func (c *Consumer) flush(ctx context.Context) error {
	conn := c.cfg.JS.Conn()
	if !conn.IsConnected() {
		return nil // what was not sent is delivered again after AckWait
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
	defer cancel()
	if err := conn.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("consumer: flushing the last answers: %w", err)
	}
	return nil
}

// outlive returns a context with the values of ctx that ends grace after ctx
// does: for what must still be said after an end, on a clock of its own.
func outlive(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return longer, func() {
		stop()
		cancel()
	}
}
