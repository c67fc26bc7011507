package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// crowdEvery is how old the count of pending deliveries may be when it matters.
	crowdEvery = time.Second
	// crowdWithin bounds the request for it.
	crowdWithin = 2 * time.Second
)

// crowd knows how many deliveries of a consumer are pending, over all processes,
// as of a moment ago. It is safe for concurrent use.
type crowd struct {
	mu       sync.Mutex
	consumer jetstream.Consumer
	pending  int // when last asked, and what this process gave back since
	most     int // MaxAckPending; not above 0 when there is no limit
	at       time.Time
	asking   bool
}

// bound takes over what the consumer's info says.
func (c *crowd) bound(consumer jetstream.Consumer, info *jetstream.ConsumerInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.consumer = consumer
	c.pending, c.most, c.at = info.NumAckPending, info.Config.MaxAckPending, time.Now()
}

// more counts a delivery that this process leaves pending.
func (c *crowd) more() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending++
}

// crowded reports whether more than half of what may be pending is. When the count
// is old it has it asked for, by a function that spawn runs meanwhile: this answer
// is not worth waiting for.
func (c *crowd) crowded(ctx context.Context, spawn func(func())) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.most <= 0 {
		return false
	}
	if !c.asking && time.Since(c.at) > crowdEvery {
		c.asking = true
		consumer := c.consumer
		spawn(func() { c.ask(ctx, consumer) })
	}
	return c.pending > c.most/2
}

func (c *crowd) ask(ctx context.Context, consumer jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), crowdWithin)
	defer cancel()
	info, err := consumer.Info(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asking, c.at = false, time.Now()
	if err == nil {
		c.pending, c.most = info.NumAckPending, info.Config.MaxAckPending
	}
}
