package dlq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/streamread"
)

// Defaults of Config's zero fields.
const (
	DefaultTimeout = 5 * time.Second
	// DefaultPublishBudget is how long a publish is repeated: longer than a leader
	// election takes.
	DefaultPublishBudget = 10 * time.Second
)

// ErrNotFound says that there is no dead letter of that sequence.
var ErrNotFound = errors.New("no such dead letter")

// Config says where the dead letters are. JS is required.
type Config struct {
	JS            jetstream.JetStream
	Codec         events.Codec
	Stream        string        // events.StreamDLQ when empty
	Control       string        // bucket of the notes; DefaultControl when empty
	Timeout       time.Duration // of one request to the broker; DefaultTimeout when zero
	PublishBudget time.Duration // within which a publish is tried again; DefaultPublishBudget when zero
	// Who says which connection a callback's state was made for, and whose that is;
	// "" for what it does not know. May be nil: then no filter finds a callback by either.
	Who func(ctx context.Context, state string) (connectionID, userID string, err error)
}

// Queue is the stream of dead letters. It is safe for concurrent use.
type Queue struct{ cfg Config }

// New returns a Queue. It asks no server.
func New(cfg Config) (*Queue, error) {
	if cfg.JS == nil {
		return nil, errors.New("dlq: reading configuration: JS is missing")
	}
	if cfg.Stream == "" {
		cfg.Stream = events.StreamDLQ
	}
	if cfg.Control == "" {
		cfg.Control = DefaultControl
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.PublishBudget == 0 {
		cfg.PublishBudget = DefaultPublishBudget
	}
	return &Queue{cfg}, nil
}

// Get returns one dead letter. Errors: ErrNotFound.
func (q *Queue) Get(ctx context.Context, sequence uint64) (Letter, error) {
	m, err := q.read(ctx, q.cfg.Stream, sequence)
	if errors.Is(err, streamread.ErrNotFound) {
		err = ErrNotFound
	}
	if err != nil {
		return Letter{}, fmt.Errorf("dlq: reading dead letter %d: %w", sequence, q.remedy(err))
	}
	return Read(m), nil
}

// read returns a stored message.
func (q *Queue) read(ctx context.Context, stream string, sequence uint64) (events.Message, error) {
	if stream == "" || strings.ContainsAny(stream, " \t\r\n.*>/\\") {
		return events.Message{}, jetstream.ErrInvalidStreamName // a header may say anything
	}
	ctx, cancel := context.WithTimeout(ctx, q.cfg.Timeout)
	defer cancel()
	m, err := streamread.At(ctx, q.cfg.JS, stream, sequence)
	if errors.Is(err, streamread.ErrNotFound) {
		return events.Message{}, err
	}
	if err != nil {
		return events.Message{}, judge(err)
	}
	return events.Message{
		Subject: m.Subject, Header: m.Header, Data: m.Data,
		Stream: stream, Sequence: m.Sequence, Time: m.Time,
	}, nil
}

// remedy names the stream of the dead letters, and what makes it, where the broker
// says that there is none.
func (q *Queue) remedy(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("stream %s does not exist, run `finx-connector streams apply`: %w", q.cfg.Stream, err)
	}
	return err
}

// Each calls fn with the dead letters of a filter, in the order they were
// stored, up to the newest of the moment it was called. When fn returns an
// error, Each stops and returns it as it is.
func (q *Queue) Each(ctx context.Context, f Filter, fn func(Letter) error) error {
	c, err := q.open(ctx, f)
	if err != nil {
		return fmt.Errorf("dlq: listing dead letters: %w", q.remedy(judge(err)))
	}
	left := c.CachedInfo().NumPending
	if left == 0 {
		return nil
	}
	messages, err := c.Messages()
	if err != nil {
		return fmt.Errorf("dlq: listing dead letters: %w", q.remedy(judge(err)))
	}
	defer messages.Stop()
	for left > 0 {
		l, pending, err := next(ctx, messages, q.cfg.Timeout)
		if err != nil && ctx.Err() == nil && drained(ctx, c) {
			return nil // the last ones were deleted meanwhile
		}
		if err != nil {
			return fmt.Errorf("dlq: listing dead letters: %w", q.remedy(judge(err)))
		}
		left = min(left-1, pending)
		taken, err := q.takes(ctx, f, l)
		if err != nil {
			return fmt.Errorf("dlq: listing dead letters: %w", err)
		}
		if !taken {
			continue
		}
		if err := fn(l); err != nil {
			return err
		}
	}
	return nil
}

// open makes a reader of the letters of f.
func (q *Queue) open(ctx context.Context, f Filter) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, q.cfg.Timeout)
	defer cancel()
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: q.subjects(f.Subject)}
	if !f.Since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &f.Since
	}
	return q.cfg.JS.OrderedConsumer(ctx, q.cfg.Stream, cfg)
}

// drained reports whether nothing is left to be read.
func drained(ctx context.Context, c jetstream.Consumer) bool {
	info, err := c.Info(ctx)
	return err == nil && info.NumPending == 0
}

// next returns the next letter and how many there are behind it.
func next(ctx context.Context, messages jetstream.MessagesContext, wait time.Duration) (Letter, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	m, err := messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return Letter{}, 0, err
	}
	meta, err := m.Metadata()
	if err != nil {
		return Letter{}, 0, err
	}
	return Read(events.Message{
		Subject: m.Subject(), Header: m.Headers(), Data: m.Data(),
		Stream: meta.Stream, Sequence: meta.Sequence.Stream, Time: meta.Timestamp,
	}), meta.NumPending, nil
}

// Codec returns how the subjects of the dead letters are named.
func (q *Queue) Codec() events.Codec { return q.cfg.Codec }
