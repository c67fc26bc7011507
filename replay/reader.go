package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/retry"
	"github.com/finx-connector/finx-connector/internal/streamread"
)

// How many messages wait in memory. A body is as large as the broker allows, 1 MiB
// as a rule.
const (
	headersAhead = 2000
	bodiesAhead  = 32
)

// Span is a part of a stream, both ends included. It is empty when To is below From.
type Span struct {
	Stream string `json:"stream"`
	From   uint64 `json:"from_sequence"`
	To     uint64 `json:"to_sequence"`
	Done   uint64 `json:"done,omitempty"` // all up to this one is dealt with
	// Created is when the stream was: one of the same name that was made later
	// has other messages under these sequences.
	Created time.Time `json:"stream_created_at,omitzero"`
}

// query says what is read of a stream.
type query struct {
	span        Span
	subjects    []string
	headersOnly bool
}

// walk calls fn with the messages of q in their order, and rides through a
// broker that is away for less than the budget. An error of fn ends it and is
// returned as it is; errEnough ends it without an error.
func (r *Replayer) walk(ctx context.Context, q query, fn func(events.Message) error) error {
	next := max(q.span.From, q.span.Done+1)
	for next <= q.span.To {
		var p *pages
		err := retry.Do(ctx, r.policy, func(ctx context.Context) (err error) {
			p, err = r.open(ctx, q, next)
			return err
		}, nil)
		if err != nil {
			return fmt.Errorf("replay: reading stream %s from sequence %d: %w", q.span.Stream, next, err)
		}
		if p == nil {
			return nil // nothing more is there
		}
		next, err = p.each(ctx, next, q.span.To, fn)
		p.stop()
		if err != nil {
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		}
	}
	return nil
}

// errEnough is what fn of walk returns when it wants no more.
var errEnough = errors.New("enough")

// pages is an open reader whose first message has come.
type pages struct {
	messages jetstream.MessagesContext
	first    stored
	timeout  time.Duration
}

// stored is a message, and how many there are behind it as far as its node knows.
type stored struct {
	events.Message

	pending uint64
}

func (p *pages) stop() { p.messages.Stop() }

// open begins to read at a sequence and waits for the first message, nil when
// there is none. The consumer may live on a node that lags behind: that it has
// nothing more is believed when the stream's leader has nothing either.
func (r *Replayer) open(ctx context.Context, q query, next uint64) (*pages, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	c, err := r.cfg.JS.OrderedConsumer(ctx, q.span.Stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: q.subjects, HeadersOnly: q.headersOnly,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: next,
	})
	if err != nil {
		return nil, r.judgeRead("CONSUMER.CREATE."+q.span.Stream, err)
	}
	if c.CachedInfo().NumPending == 0 {
		return nil, r.confirmEnd(ctx, q, next)
	}
	ahead := bodiesAhead
	if q.headersOnly {
		ahead = headersAhead
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(ahead))
	if err != nil {
		return nil, r.judgeRead("CONSUMER.CREATE."+q.span.Stream, err)
	}
	first, err := receive(ctx, messages)
	if err != nil {
		messages.Stop()
		return nil, r.judgeRead("CONSUMER.MSG.NEXT."+q.span.Stream, err)
	}
	return &pages{messages: messages, first: first, timeout: r.cfg.Timeout}, nil
}

// confirmEnd asks the leader whether nothing is left.
func (r *Replayer) confirmEnd(ctx context.Context, q query, next uint64) error {
	for _, subject := range q.subjects {
		m, err := streamread.Next(ctx, r.cfg.JS, q.span.Stream, subject, next)
		switch {
		case errors.Is(err, streamread.ErrNotFound):
		case err != nil:
			return r.judgeRead("STREAM.MSG.GET."+q.span.Stream, err)
		case m.Sequence <= q.span.To:
			return fault.Transient(fault.NATS, fmt.Errorf("the node that reads is behind: it does not see sequence %d yet", m.Sequence))
		}
	}
	return nil
}

// each calls fn with the messages up to the sequence to, and returns the next
// one to be read: above to when all was read. A broker that falls silent is no
// error; the caller opens the stream again.
func (p *pages) each(ctx context.Context, next, to uint64, fn func(events.Message) error) (uint64, error) {
	for m := p.first; ; {
		if m.Sequence > to {
			return m.Sequence, nil
		}
		if err := fn(m.Message); err != nil {
			return next, err
		}
		next = m.Sequence + 1
		if m.pending == 0 || next > to {
			return next, nil
		}
		waiting, cancel := context.WithTimeout(ctx, p.timeout)
		var err error
		m, err = receive(waiting, p.messages)
		cancel()
		if ctx.Err() != nil {
			return next, context.Cause(ctx)
		}
		if err != nil {
			return next, nil //nolint:nilerr // opening it again will say what is wrong
		}
	}
}

// receive waits for the next message.
func receive(ctx context.Context, messages jetstream.MessagesContext) (stored, error) {
	m, err := messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return stored{}, err
	}
	meta, err := m.Metadata()
	if err != nil {
		return stored{}, err
	}
	return stored{events.Message{
		Subject: m.Subject(), Header: m.Headers(), Data: m.Data(),
		Stream: meta.Stream, Sequence: meta.Sequence.Stream, Time: meta.Timestamp,
	}, meta.NumPending}, nil
}

// state asks for a stream.
func (r *Replayer) state(ctx context.Context, name string) (info *jetstream.StreamInfo, err error) {
	err = retry.Do(ctx, r.policy, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
		defer cancel()
		s, err := r.cfg.JS.Stream(ctx, name)
		if err != nil {
			return r.judgeRead("STREAM.INFO."+name, err)
		}
		info = s.CachedInfo()
		return nil
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("replay: asking for stream %s: %w", name, err)
	}
	return info, nil
}

// skew is how far the clocks of a stream's leaders may be apart: messages are
// stored in the order of their times but for that.
const skew = time.Minute

// sequenceAt returns a sequence before which nothing was stored since a time.
func (r *Replayer) sequenceAt(ctx context.Context, stream string, at time.Time) (seq uint64, err error) {
	at = at.Add(-skew)
	err = retry.Do(ctx, r.policy, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
		defer cancel()
		c, err := r.cfg.JS.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
			HeadersOnly: true, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at,
		})
		if err != nil {
			return r.judgeRead("CONSUMER.CREATE."+stream, err)
		}
		seq = c.CachedInfo().Delivered.Stream + 1
		return nil
	}, nil)
	if err != nil {
		return 0, fmt.Errorf("replay: looking for the place in stream %s: %w", stream, err)
	}
	return seq, nil
}
