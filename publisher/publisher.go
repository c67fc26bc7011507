package publisher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/retry"
)

// Defaults of Config's zero fields.
const (
	// DefaultTimeout is how long a publish is repeated. A leader election takes
	// some 5 s; a rolling restart of the brokers several of them.
	DefaultTimeout = 60 * time.Second
	// DefaultAttemptTimeout is how long one attempt waits for the stream's ack.
	DefaultAttemptTimeout = 5 * time.Second
	// DefaultDueTTL is how long a timer that came due waits for somebody to take
	// it before the broker drops it.
	DefaultDueTTL = 30 * 24 * time.Hour

	defaultMaxPayload = 1 << 20 // the broker's default, until it has told its own
	storeFullWait     = 5 * time.Second
	firstWait         = 50 * time.Millisecond
	longestWait       = 2 * time.Second
	jitter            = 0.3
)

// Config says where events go. JS is required.
type Config struct {
	JS            jetstream.JetStream
	Codec         events.Codec
	PerConnection bool // SUBJECT_PER_CONNECTION

	EventsStream   string // events.StreamEvents when empty
	RequestsStream string // holds transactions.sync.requested; events.StreamRequests when empty
	TimersStream   string // events.StreamTimers when empty

	Timeout        time.Duration // DefaultTimeout when zero
	AttemptTimeout time.Duration // DefaultAttemptTimeout when zero
	DueTTL         time.Duration // DefaultDueTTL when zero

	MaxPayload func() int64 // of the broker, headers included; asks the connection when nil
	// Observe is told what the end of each publish says about JetStream: Alive when
	// it is stored, Away when it could not be within Timeout. It must not block; nil:
	// nobody is told. No publish is held back for it.
	Observe func(guard.Answer)
	Logger  *slog.Logger // slog.Default when nil
	Metrics *Metrics     // nil counts nothing
}

// Publisher publishes events. It is safe for concurrent use.
type Publisher struct {
	cfg      Config
	fullWait time.Duration // how long a full stream is left alone
	memory   *partMemory   // of fetch writers
	policy   retry.Policy
}

// Receipt is where an event is stored.
type Receipt struct {
	Stream    string
	Sequence  uint64
	Duplicate bool // the stream held it already, at Sequence
}

// New returns a publisher.
func New(cfg Config) (*Publisher, error) {
	if cfg.JS == nil {
		return nil, errors.New("publisher: reading configuration: JS is missing")
	}
	setDefault(&cfg.EventsStream, events.StreamEvents)
	setDefault(&cfg.RequestsStream, events.StreamRequests)
	setDefault(&cfg.TimersStream, events.StreamTimers)
	setDefault(&cfg.Timeout, DefaultTimeout)
	setDefault(&cfg.AttemptTimeout, DefaultAttemptTimeout)
	setDefault(&cfg.DueTTL, DefaultDueTTL)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Observe == nil {
		cfg.Observe = func(guard.Answer) {}
	}
	if cfg.MaxPayload == nil {
		cfg.MaxPayload = cfg.JS.Conn().MaxPayload
	}
	return &Publisher{
		cfg: cfg, fullWait: storeFullWait, memory: newPartMemory(),
		policy: retry.Policy{Initial: firstWait, Max: longestWait, Budget: cfg.Timeout, Jitter: jitter},
	}, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Publish stores an output event and returns where. It repeats for
// Config.Timeout or until ctx ends; what comes back then is an error with a
// verdict. An event whose outcome is unknown may be published again: it has the
// same id.
func (p *Publisher) Publish(ctx context.Context, o events.Output) (Receipt, error) {
	return p.output(ctx, o, o.AppendJSON(make([]byte, 0, o.Size())))
}

// output publishes an output whose encoding is body. body is free again when it
// returns: the client has copied it or written it out.
func (p *Publisher) output(ctx context.Context, o events.Output, body []byte) (Receipt, error) {
	return p.send(ctx, o.Type, p.cfg.EventsStream, &nats.Msg{
		Subject: p.cfg.Codec.OutputSubject(o.Type, o.ConnectionID, p.cfg.PerConnection),
		Header:  events.HeadersFor(o),
		Data:    body,
	})
}

// send publishes msg to exactly that stream. typ is for metrics and errors.
func (p *Publisher) send(ctx context.Context, typ, stream string, msg *nats.Msg) (Receipt, error) {
	msg.Header[jetstream.ExpectedStreamHeader] = []string{stream}
	start := time.Now()
	ctx, span := p.trace(ctx, typ, stream, msg)
	var ack *jetstream.PubAck
	err := retry.Do(ctx, p.policy, func(ctx context.Context) error {
		attempt, cancel := context.WithTimeout(ctx, p.cfg.AttemptTimeout)
		defer cancel()
		var err error
		ack, err = p.cfg.JS.PublishMsg(attempt, msg, jetstream.WithRetryAttempts(0)) // the waits between attempts are ours
		if err != nil {
			return p.judge(msg.Subject, stream, err)
		}
		return nil
	}, func(err error, wait time.Duration) {
		span.Event("repeated", err)
		p.cfg.Metrics.retried(reasonOf(err))
		level := slog.LevelWarn
		if reasonOf(err) == reasonBusy {
			level = slog.LevelInfo // the broker at work: nothing is amiss
		}
		p.cfg.Logger.Log(ctx, level, "publish repeated", "type", typ, "stream", stream, "wait", wait, "error", err)
	})
	p.cfg.Observe(standing(ctx, stream, err))
	traced(span, ack, err)
	if err != nil {
		p.cfg.Metrics.failed(typ, reasonOf(err))
		return Receipt{}, fmt.Errorf("publisher: publishing %s to stream %s: %w", typ, stream, err)
	}
	p.cfg.Metrics.published(typ, ack.Duplicate, len(msg.Data), time.Since(start))
	return Receipt{Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil
}
