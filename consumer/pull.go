package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// gateEvery is how often a lane with an open pull looks whether its gate closed.
const gateEvery = 50 * time.Millisecond

// pull fetches for free slots until ctx is done (nil), the binding is old (nil)
// or the consumer does not answer as it should.
func (l *lane) pull(ctx, work context.Context, b *binding) error {
	for time.Since(b.at) < refreshEvery {
		n := l.admit(ctx, b.maxBatch)
		if n == 0 {
			return nil
		}
		left, err := l.fetch(ctx, work, b, n)
		l.releaseAll(left)
		if err != nil {
			return err
		}
		l.pulled(ctx)
	}
	return nil
}

// take waits for a free slot and takes all that are free, up to limit. It returns
// 0 when ctx is done.
func (l *lane) take(ctx context.Context, limit int) int {
	if ctx.Err() != nil {
		return 0
	}
	select {
	case <-ctx.Done():
		return 0
	case l.slots <- struct{}{}:
	}
	for n := 1; ; n++ {
		if n == limit {
			return n
		}
		select {
		case l.slots <- struct{}{}:
		default:
			return n
		}
	}
}

func (l *lane) release() { <-l.slots }

func (l *lane) releaseAll(n int) {
	for range n {
		l.release()
	}
}

// fetch opens one pull for n messages, for which slots are taken, and starts the
// work on each the moment it arrives. It returns how many of the slots are left.
//
// When the gate closes meanwhile the pull is dropped, and what was on its way
// already goes back. Not so when it was closed before: then one delivery is wanted
// to find out whether a server is back.
func (l *lane) fetch(ctx, work context.Context, b *binding, n int) (left int, err error) {
	open, cancel := outlive(ctx, fetchLinger)
	defer cancel()
	open, expire := context.WithTimeout(open, b.fetchWait)
	defer expire()
	probing := l.closed() != ""
	batch, err := b.consumer.Fetch(n, jetstream.FetchContext(open), jetstream.FetchHeartbeat(b.fetchWait/fetchBeats))
	if err != nil {
		return n, fmt.Errorf("consumer: pulling: %w", err)
	}
	look := time.NewTicker(gateEvery)
	defer look.Stop()
	shut := false
	for messages := batch.Messages(); messages != nil; {
		select {
		case msg, ok := <-messages:
			switch {
			case !ok:
				messages = nil
			case ctx.Err() != nil || !probing && l.closed() != "":
				l.handBack(ctx, msg)
			case l.start(work, b, msg):
				n--
			}
		case <-look.C:
			if !probing && !shut && l.closed() != "" {
				shut = true
				time.AfterFunc(fetchLinger, cancel)
			}
		}
	}
	if err := batch.Error(); err != nil && open.Err() == nil {
		return n, fmt.Errorf("consumer: pulling: %w", err)
	}
	return n, nil
}

// handBack returns a delivery that arrived after the intake stopped or the gate
// closed.
func (l *lane) handBack(ctx context.Context, msg jetstream.Msg) {
	if meta, err := msg.Metadata(); err == nil {
		l.notes.failed(meta.Sequence.Stream, int(meta.NumDelivered), Action{Outcome: OutcomeBusy}, time.Now()) //nolint:gosec // a count of deliveries stays far below the limit
	}
	if err := msg.NakWithDelay(shutdownDelay); err != nil {
		l.cfg.Metrics.ackFailed(l.Name, answerNak)
		l.log.WarnContext(ctx, "delivery not handed back, it returns after AckWait", "error", err)
	}
}
