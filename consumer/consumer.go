// Package consumer takes deliveries from JetStream, has them handled, and says
// what becomes of each. It is the only place that acknowledges.
//
// A lane is one durable consumer with its own workers. The lane asks the server
// for as many messages as it has free slots, never more, so nothing ages in a
// buffer, and for none while its Gate is closed; from receipt on it tells the server
// every third of the consumer's AckWait that the message is being worked on. The
// handler returns an error with a verdict (internal/fault), decide turns it into one
// of four answers, and settle gives that answer: acknowledged, back after a delay,
// parked, or stored as a dead letter and terminated.
//
// What is parked is a reference to the message, as a schedule in the timers stream;
// the message stays where it is. The lane that takes what comes due reads it again
// and hands it over to its own lane, which handles and settles it like any other.
//
// A handler that panics has failed. One that does not return when its time is over
// loses its message and keeps its slot. A message that ends the process again and
// again is found by what was begun and never returned (Suspects).
//
// Streams and consumers are bound to, never created: a running connector needs
// no right to change the topology. What is missing is said in Status and waited
// for.
package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// The causes with which a handler's context is cancelled (context.Cause).
var (
	// ErrShutdown says the process is stopping. What a handler returns then is
	// neither an attempt nor an error; the message comes back to somebody else.
	ErrShutdown = errors.New("consumer: shutting down")
	// ErrDeadline says the lane's Deadline for one delivery has passed. It counts
	// as an attempt, and the message may already be with another worker.
	ErrDeadline = errors.New("consumer: deadline of the delivery passed")
)

// Handler does the work of one delivery. The verdict of its error decides what
// becomes of the message: nil acknowledges it. It may be called again for a
// message it has seen, also at the same time from another process, and must stop
// when ctx is done, unless it holds something that would be lost: a shutdown waits
// for it.
type Handler func(ctx context.Context, d Delivery) error

// Delivery is one delivery of a stored message.
type Delivery struct {
	events.Message
	// Attempt counts from 1, without the deliveries that ended in waiting or in a
	// shutdown, as far as this process knows of them.
	Attempt int
	// FirstFailure is when the message failed or had to wait for the first time, as
	// far as this process knows; zero when it has not. It is kept over parking.
	FirstFailure time.Time
}

// Defaults of a Config's zero fields.
const (
	DefaultRetryDelay        = time.Second
	DefaultRetryDelayMax     = time.Minute
	DefaultOutageAfter       = 24 * time.Hour
	DefaultDrainTimeout      = 30 * time.Second
	DefaultDeadLetterTimeout = 45 * time.Second
	DefaultParkAfter         = time.Minute
)

// Config is what a Consumer needs. JS and Lanes are required.
type Config struct {
	JS    jetstream.JetStream
	Lanes []Lane
	Codec events.Codec
	// DLQStream, if set, is the stream that must store the dead letters; one
	// stored elsewhere by a stray subject binding counts as not stored.
	DLQStream string
	Logger    *slog.Logger // nil discards
	Metrics   *Metrics     // nil counts nothing

	RetryDelay    time.Duration // first delay after a failure, doubled each time
	RetryDelayMax time.Duration // longest delay after a failure
	// OutageAfter is how long a message is tried again because a server we depend
	// on is away or throttles, counted from the first failure this process saw or
	// was told of by the process that parked it. MaxAttempts does not apply to these
	// failures: an outage would turn the whole stream into dead letters.
	OutageAfter time.Duration
	// DrainTimeout is how long running work may go on after Run's context ended,
	// before it is cancelled with ErrShutdown.
	DrainTimeout time.Duration
	// DeadLetterTimeout is how long one dead letter is tried to be stored. It
	// should outlast a leader election (5 to 6 s measured).
	DeadLetterTimeout time.Duration

	// TimersStream is where a delivery that has to wait for long is parked; empty
	// parks none. One of the lanes must take what comes due there (Lane.Parked).
	TimersStream string
	// ParkAfter is the longest wait that is left to the consumer. A delivery that
	// has to wait longer is parked: a delayed one counts against MaxAckPending, and
	// its delay is lost with the consumer.
	ParkAfter time.Duration
	// Suspects, if set, finds the messages that end the process they are handled in.
	Suspects Suspects
	// Tracer begins a span for each delivery that is handled; nil begins none.
	Tracer *telemetry.Tracer

	maxWait, surveyEvery time.Duration // tests shorten them
}

func (c *Config) setDefaults() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.RetryDelay, DefaultRetryDelay},
		{&c.RetryDelayMax, DefaultRetryDelayMax},
		{&c.OutageAfter, DefaultOutageAfter},
		{&c.DrainTimeout, DefaultDrainTimeout},
		{&c.DeadLetterTimeout, DefaultDeadLetterTimeout},
		{&c.ParkAfter, DefaultParkAfter},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
}

// Consumer runs the lanes. It is safe for concurrent use.
type Consumer struct {
	cfg   Config
	lanes []*lane
	ran   atomic.Bool
	work  sync.WaitGroup // deliveries under way
}

// New checks the configuration. It does not speak to the server.
func New(cfg Config) (*Consumer, error) {
	cfg.setDefaults()
	if cfg.JS == nil || len(cfg.Lanes) == 0 {
		return nil, errors.New("consumer: configuring: JetStream and at least one lane are required")
	}
	c := &Consumer{cfg: cfg}
	shared := &shared{
		cfg: &c.cfg, work: &c.work, reader: newReader(cfg.JS), lanes: map[string]*lane{}, suspicion: newSuspicion(&c.cfg),
	}
	takesParked := false
	for _, l := range cfg.Lanes {
		if err := l.check(); err != nil {
			return nil, fmt.Errorf("consumer: configuring lane %q: %w", l.Name, err)
		}
		if shared.lanes[l.Name] != nil {
			return nil, fmt.Errorf("consumer: configuring lane %q: the name is used twice", l.Name)
		}
		ln := newLane(shared, l)
		shared.lanes[l.Name] = ln
		c.lanes = append(c.lanes, ln)
		takesParked = takesParked || l.Parked
	}
	if cfg.TimersStream != "" && !takesParked {
		return nil, errors.New("consumer: configuring: no lane takes what is parked in " + cfg.TimersStream)
	}
	return c, nil
}

// Run takes and settles deliveries until ctx is done. Then it takes no more at
// once, gives running work DrainTimeout to finish, cancels what is left with
// ErrShutdown, and returns when the last handler has returned and its answer is
// sent. That last wait has no limit, because a handler may hold the only copy of
// a token; it says so in the log. The connection must stay open until Run
// returns. Run can be called once.
func (c *Consumer) Run(ctx context.Context) error {
	if !c.ran.CompareAndSwap(false, true) {
		return errors.New("consumer: running: it has run already")
	}
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	var intake sync.WaitGroup
	for _, l := range c.lanes {
		intake.Go(func() { l.run(ctx, work) })
		intake.Go(func() { l.survey(ctx) })
	}
	intake.Go(func() { c.countLetters(ctx) })
	intake.Wait()
	c.drain(work, stop)
	return c.flush(work)
}

// Status says of every lane whether it can take work, in the order of the
// configuration.
func (c *Consumer) Status() []LaneStatus {
	all := make([]LaneStatus, len(c.lanes))
	for i, l := range c.lanes {
		all[i] = l.state()
		all[i].InFlight = l.inFlight.count()
	}
	return all
}
