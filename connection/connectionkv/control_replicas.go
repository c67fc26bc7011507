package connectionkv

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const replicaPrefix = "replica."

// replicaRetry is how long to wait after a renewal or a watch that failed.
const replicaRetry = time.Second

// Announce tells the other replicas that this one is there and counts them, until
// ctx ends. Then it takes its own key away, so that the others know at once, and
// returns; that takes a few seconds at most. Call it once, and close the
// connection to NATS after it. A replica that ends without is counted until its
// TTL is over.
func (c *Control) Announce(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { c.countReplicas(ctx) })
	c.keepAnnounced(ctx)
}

// Replicas returns how many replicas are live, this one included: 1 or more. It
// asks nobody. While NATS is away, and until every replica has had its TTL to
// announce itself again after that, it is what was known before.
func (c *Control) Replicas() int { return max(1, int(c.count.Load())) }

func (c *Control) keepAnnounced(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		wait := c.renew
		_, err := c.bucket.send(ctx, &nats.Msg{Subject: c.bucket.subject(c.replicaKey), Data: c.replica}, jetstream.WithMsgTTL(c.ttl))
		if ctx.Err() != nil {
			break
		}
		c.metrics.observe(opAnnounce, err)
		if err != nil {
			wait = min(wait, replicaRetry)
			if !failing {
				c.logger.WarnContext(ctx, "this replica cannot announce itself", "error", err)
			}
		}
		failing = err != nil
		pause(ctx, wait)
	}
	if err := c.withdraw(context.WithoutCancel(ctx)); err != nil {
		c.logger.WarnContext(ctx, "this replica's key stays until its TTL is over", "error", err)
	}
}

// withdraw takes the key away if it is still this process's own: a process that
// was started again under the same name may have written it since.
func (c *Control) withdraw(ctx context.Context) error {
	now, err := c.bucket.readAfter(ctx, c.replicaKey)
	if err != nil || !now.live || !bytes.Equal(now.value, c.replica) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	return c.bucket.remove(ctx, c.replicaKey, now.revision, markerTTL)
}

func (c *Control) countReplicas(ctx context.Context) {
	seen := roll{own: c.replicaKey, ttl: c.ttl, seen: map[string]time.Time{}}
	failing := false
	for ctx.Err() == nil {
		f, err := c.bucket.follow(ctx, replicaPrefix+">", c.pace.beat)
		if err == nil {
			failing = false
			seen.resume(time.Now())
			err = c.countFrom(ctx, f, &seen)
			f.stop()
		}
		if ctx.Err() != nil {
			return
		}
		c.metrics.observe(opReplicas, err)
		if !failing {
			c.logger.WarnContext(ctx, "the number of replicas is not known for the moment", "last_known", c.Replicas(), "error", err)
		}
		failing = true
		pause(ctx, replicaRetry)
	}
}

// countFrom keeps the count up to date until the feed ends.
func (c *Control) countFrom(ctx context.Context, f *feed, seen *roll) error {
	for {
		n := seen.count()
		c.count.Store(int64(n))
		c.metrics.setReplicas(n)
		change, idle, err := f.next(ctx)
		if err != nil {
			return fmt.Errorf("counting replicas: %w", err)
		}
		seen.heard = time.Now()
		switch {
		case idle:
		case change.live:
			seen.seen[change.key] = seen.heard
		case change.purged:
			delete(seen.seen, change.key)
		}
	}
}

// roll is who was seen when. Nobody is taken off it for having run out in the
// bucket: a broker that was away for longer than a TTL comes back without a
// single key, and each replica would take the whole budget of all for its own. So
// a replica is gone when it has left, or when it was not seen for a TTL in which
// the broker was heard.
type roll struct {
	own   string
	ttl   time.Duration
	seen  map[string]time.Time
	heard time.Time
}

// resume begins anew to wait for everybody who was known.
func (r *roll) resume(now time.Time) {
	r.heard = now
	for key := range r.seen {
		r.seen[key] = now
	}
}

// count returns how many there are, this replica always among them.
func (r *roll) count() int {
	n := 1
	for key, at := range r.seen {
		switch {
		case r.heard.Sub(at) > r.ttl:
			delete(r.seen, key)
		case key != r.own:
			n++
		}
	}
	return n
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
