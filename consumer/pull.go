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
		if n > 1 && l.closed() != "" {
			// It closed while slots were waited for. Whoever is to find out is alone.
			l.releaseAll(n)
			continue
		}
		if n = l.grant(n); n == 0 {
			continue
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

// grant hands taken slots, at most n, to deliveries that were parked and came due,
// and returns how many are left for new ones. One that is to find out whether a
// server is back does so alone.
func (l *lane) grant(n int) int {
	for left := n; left > 0; left-- {
		select {
		case l.queue.grants <- struct{}{}:
		default:
			if left < n && l.closed() != "" {
				l.releaseAll(left)
				return 0
			}
			return left
		}
	}
	return 0
}

// fetch opens one pull for n messages, for which slots are taken, and starts the
// work on each the moment it arrives. It returns how many of the slots are left.
//
// When the gate closes meanwhile the pull is dropped, and what was on its way
// already goes back. Not so when it was closed before: then one delivery is wanted
// to find out whether a server is back.
//
// What was parked and comes due meanwhile does not wait for the pull to end: it gets
// a slot that the pull holds and does not need so far. A message that comes for that
// slot waits for the next, with heartbeats.
func (l *lane) fetch(ctx, work context.Context, b *binding, n int) (left int, err error) {
	open, cancel := outlive(ctx, fetchLinger)
	defer cancel()
	open, expire := context.WithTimeout(open, b.fetchWait)
	defer expire()
	probing, shut := l.closed() != "", false
	batch, err := b.consumer.Fetch(n, jetstream.FetchContext(open), jetstream.FetchHeartbeat(b.fetchWait/fetchBeats))
	if err != nil {
		return n, fmt.Errorf("consumer: pulling: %w", err)
	}
	look := time.NewTicker(gateEvery)
	defer look.Stop()
	for messages := batch.Messages(); messages != nil; {
		grants, slots := l.lend(n, probing || shut || ctx.Err() != nil)
		select {
		case msg, ok := <-messages:
			switch {
			case !ok:
				messages = nil
			case ctx.Err() != nil || l.shut(probing, cancel):
				l.handBack(ctx, msg)
			default:
				n -= l.begin(work, b, msg, n)
			}
		case grants <- struct{}{}:
			n--
		case slots <- struct{}{}:
			n++
		case <-look.C:
			shut = shut || l.shut(probing, cancel)
		}
	}
	if err := batch.Error(); err != nil && open.Err() == nil {
		return n, fmt.Errorf("consumer: pulling: %w", err)
	}
	return n, nil
}

// shut reports whether the gate has closed, and has the pull dropped soon if so. A
// pull that is to find out whether it may open goes on.
func (l *lane) shut(probing bool, drop func()) bool {
	if probing || l.closed() == "" {
		return false
	}
	time.AfterFunc(fetchLinger, drop)
	return true
}

// lend returns where an open pull may hand over one of its n slots, and where it may
// take one when it has none left and somebody waits. Both are nil when it may not.
func (l *lane) lend(n int, not bool) (grants, slots chan<- struct{}) {
	switch {
	case not:
	case n > 0:
		grants = l.queue.grants
	case l.queue.waiting.Load() > 0:
		slots = l.slots
	}
	return grants, slots
}

// begin starts the work on a message and returns how many of the free slots it took.
func (l *lane) begin(ctx context.Context, b *binding, msg jetstream.Msg, free int) int {
	w := l.receive(ctx, b, msg)
	switch {
	case w == nil:
		return 0
	case free == 0:
		l.startLate(ctx, w)
		return 0
	}
	l.start(ctx, w)
	return 1
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
