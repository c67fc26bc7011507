package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// Lane is one durable consumer with workers of its own. The fields from Name to
// Handle are required, but for AckWait.
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
	// Gate, if set, is asked before anything is taken.
	Gate Gate
	// Parked says that the deliveries of other lanes come due in this one. It hands
	// them over to their own lanes; its Handle sees none of them.
	Parked bool
	// LastWords, if set, is called before a message that was tried for as long as
	// allowed becomes a dead letter (class exhausted or outage), to tell whoever
	// waits for its result. While it returns an error the message comes back
	// instead; it may be called again for the same message.
	LastWords func(ctx context.Context, d Delivery, class fault.Class, err error) error
	// Redact removes what may not be kept from a dead letter and from log lines;
	// nil keeps the message as it is. texts are pieces of the error line, which may
	// quote the message; they come back in their order. It is called at most once for
	// each settled delivery, and not where nothing of it is kept: one that went well
	// on a subject without tokens of its own.
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

// shared is what the lanes of a Consumer have in common.
type shared struct {
	cfg       *Config
	work      *sync.WaitGroup
	reader    *reader
	suspicion *suspicion
	lanes     map[string]*lane // by name
	// unparkable is why nothing could be parked a moment ago.
	unparkable standstill
}

// lane is a Lane at work.
type lane struct {
	Lane
	*shared
	log      *slog.Logger
	slots    chan struct{} // holds one element for each taken slot
	notes    *notes        // of its own deliveries
	resumed  *notes        // of those that were parked and came due
	queue    *queue        // where those wait for a slot
	crowd    *crowd
	backlog  backlog
	status   *status
	inFlight *inFlight
	ended    chan struct{} // closed when the intake has ended
}

func newLane(s *shared, l Lane) *lane {
	ln := &lane{
		Lane: l, shared: s,
		log:      s.cfg.Logger.With("lane", l.Name),
		slots:    make(chan struct{}, l.Slots),
		notes:    newNotes(),
		resumed:  newNotes(),
		queue:    newQueue(l.Slots),
		crowd:    &crowd{},
		inFlight: newInFlight(),
		ended:    make(chan struct{}),
	}
	ln.status = newStatus(l.Name, l.Slots, fmt.Sprintf("starting: consumer %s on %s is not bound yet", l.Durable, l.Stream))
	s.cfg.Metrics.watch(ln)
	return ln
}

// run takes deliveries until ctx is done. Whatever goes wrong with the consumer
// is said in the status and tried again for ever; handlers run under work.
func (l *lane) run(ctx, work context.Context) {
	defer close(l.ended)
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

// sleep waits, or less when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
