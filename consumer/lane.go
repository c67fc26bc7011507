package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// Lane is one durable consumer with workers of its own. All fields but AckWait
// and Redact are required.
type Lane struct {
	Name     string // for logs, metrics and Status
	Stream   string
	Durable  string
	Slots    int           // deliveries handled at the same time
	Deadline time.Duration // for one delivery; then its context is cancelled with ErrDeadline
	// AckWait, if set, shortens the time between heartbeats as if the consumer had
	// this AckWait. A longer one than the consumer has is not believed.
	AckWait time.Duration
	// MaxAttempts is after how many counted attempts the message becomes a dead
	// letter of class exhausted. At least half of them, rounded up, must be
	// failures this process saw itself: the server's count also grows by restarts
	// and by waiting in other processes.
	MaxAttempts int
	Handle      Handler
	// LastWords, if set, is called before a message that was tried for as long as
	// allowed becomes a dead letter (class exhausted or outage), to tell whoever
	// waits for its result. While it returns an error the message comes back
	// instead; it may be called again for the same message.
	LastWords func(ctx context.Context, d Delivery, class fault.Class, err error) error
	// Redact removes what may not be kept from a dead letter and from log lines;
	// nil keeps the message as it is. texts are pieces of the error line, which may
	// quote the message; they come back in their order. It is called once for each
	// settled delivery.
	Redact func(m events.Message, texts ...string) (events.Message, []string)
}

func (l *Lane) check() error {
	switch {
	case l.Name == "" || l.Stream == "" || l.Durable == "":
		return errors.New("name, stream and durable are required")
	case l.Handle == nil:
		return errors.New("a handler is required")
	case l.Slots <= 0 || l.MaxAttempts <= 0 || l.Deadline <= 0:
		return errors.New("slots, attempts and deadline must be positive")
	}
	return nil
}

const (
	// fetchWait is how long one pull stays open at the server. Short, because
	// pulls do not always survive a change of leader.
	fetchWait = 5 * time.Second
	// fetchHeartbeat is how often the server must show that an open pull is alive;
	// two missing ones end it.
	fetchHeartbeat = time.Second
	// fetchLinger is how long an open pull is still listened to when the intake
	// stops, so that deliveries under way are handed back instead of being left to
	// AckWait.
	fetchLinger = 250 * time.Millisecond
	// refreshEvery is how often the consumer's configuration is read again.
	refreshEvery = 30 * time.Second
	// Waits between tries to bind again.
	rebindDelay    = 250 * time.Millisecond
	rebindDelayMax = 5 * time.Second
)

// lane is a Lane at work.
type lane struct {
	Lane
	cfg      *Config
	log      *slog.Logger
	slots    chan struct{} // holds one element for each taken slot
	notes    *notes
	status   *status
	inFlight *inFlight
	work     *sync.WaitGroup
}

func newLane(cfg *Config, l Lane, work *sync.WaitGroup) *lane {
	ln := &lane{
		Lane: l, cfg: cfg, work: work,
		log:      cfg.Logger.With("lane", l.Name),
		slots:    make(chan struct{}, l.Slots),
		notes:    newNotes(),
		inFlight: newInFlight(),
	}
	ln.status = newStatus(l.Name, fmt.Sprintf("starting: consumer %s on %s is not bound yet", l.Durable, l.Stream))
	cfg.Metrics.watch(l.Name, ln.inFlight)
	return ln
}

// run takes deliveries until ctx is done. Whatever goes wrong with the consumer
// is said in the status and tried again for ever; handlers run under work.
func (l *lane) run(ctx, work context.Context) {
	for faults := 0; ctx.Err() == nil; {
		b, err := l.bind(ctx)
		pulling := err == nil
		if pulling {
			l.bound(ctx, b)
			err = l.pull(ctx, work, b)
		}
		switch {
		case ctx.Err() != nil:
		case err == nil:
			faults = 0
		default:
			faults++
			l.blocked(ctx, err, pulling)
			sleep(ctx, backoff(faults, rebindDelay, rebindDelayMax))
		}
	}
	l.stopped()
}

// pull fetches for free slots until ctx is done (nil), the binding is old (nil)
// or the consumer does not answer as it should.
func (l *lane) pull(ctx, work context.Context, b *binding) error {
	for time.Since(b.at) < refreshEvery {
		n := l.take(ctx, b.maxBatch)
		if n == 0 {
			return nil
		}
		started, err := l.fetch(ctx, work, b, n)
		for range n - started {
			l.release()
		}
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

// fetch opens one pull for n messages and starts the work on each the moment it
// arrives. It returns how many were started.
func (l *lane) fetch(ctx, work context.Context, b *binding, n int) (int, error) {
	open, cancel := outlive(ctx, fetchLinger)
	defer cancel()
	open, expire := context.WithTimeout(open, b.fetchWait)
	defer expire()
	batch, err := b.consumer.Fetch(n, jetstream.FetchContext(open), jetstream.FetchHeartbeat(b.fetchWait/fetchBeats))
	if err != nil {
		return 0, fmt.Errorf("consumer: pulling: %w", err)
	}
	started := 0
	for msg := range batch.Messages() {
		if ctx.Err() != nil {
			l.handBack(ctx, msg)
			continue
		}
		if l.start(work, b, msg) {
			started++
		}
	}
	if err := batch.Error(); err != nil && open.Err() == nil {
		return started, fmt.Errorf("consumer: pulling: %w", err)
	}
	return started, nil
}

// handBack returns a delivery that arrived after the intake stopped.
func (l *lane) handBack(ctx context.Context, msg jetstream.Msg) {
	if err := msg.NakWithDelay(shutdownDelay); err != nil {
		l.cfg.Metrics.ackFailed(l.Name, answerNak)
		l.log.WarnContext(ctx, "delivery not handed back at shutdown, it returns after AckWait", "error", err)
	}
}

// sleep waits, or less when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
