package consumer

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/streamread"
)

const (
	// surveyEvery is how often it is looked at what waits for a lane. The binding
	// asks the server as often while the lane pulls, and then nothing is asked twice.
	surveyEvery = 30 * time.Second
	// surveyFirst is when it is looked for the first time: the lane is bound by then.
	surveyFirst = 2 * time.Second
	// lettersEvery is how often the dead letters are counted, and lettersAgain when
	// that is tried again after silence: a refused question is answered by silence,
	// and the broker complains of each.
	lettersEvery = time.Minute
	lettersAgain = 10 * time.Minute
)

// backlog is what the server says waits for a lane, whoever of the replicas will
// take it, as of a moment ago. It is safe for concurrent use.
type backlog struct {
	mu sync.Mutex
	// consumer is nil until the lane was bound for the first time.
	consumer jetstream.Consumer
	at       time.Time // when the server was asked; zero: never yet
	waiting  float64   // messages that nobody has taken
	unacked  float64   // messages that somebody has taken and not settled
	next     uint64    // sequence before which everything is settled
	filters  []string  // subjects of the consumer
	oldest   time.Time // when the oldest message that is not settled was stored; zero: there is none
	sequence uint64    // of that message
	known    bool      // oldest was read, and is still the oldest
}

// note takes over what the consumer's info says.
func (b *backlog) note(consumer jetstream.Consumer, info *jetstream.ConsumerInfo) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.consumer, b.at = consumer, time.Now()
	b.waiting, b.unacked = float64(info.NumPending), float64(info.NumAckPending)
	b.next, b.filters = info.AckFloor.Stream+1, info.Config.FilterSubjects
	if info.Config.FilterSubject != "" {
		b.filters = []string{info.Config.FilterSubject}
	}
	if len(b.filters) == 0 {
		b.filters = []string{">"}
	}
	if b.waiting+b.unacked == 0 {
		b.oldest, b.sequence, b.known = time.Time{}, 0, true
	}
}

// unread takes note that there is a message that is not settled and could not be read.
// The one that was the oldest still is, unless it is settled by now.
func (b *backlog) unread() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known = b.known && b.sequence >= b.next
}

// backlogNow is what of it goes into the metrics. What is not known is NaN.
type backlogNow struct{ waiting, unacked, oldest, asked float64 }

func (b *backlog) get(now time.Time) backlogNow {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := backlogNow{waiting: math.NaN(), unacked: math.NaN(), oldest: math.NaN()}
	if !b.at.IsZero() {
		out.waiting, out.unacked, out.asked = b.waiting, b.unacked, float64(b.at.Unix())
	}
	switch {
	case b.known && b.oldest.IsZero():
		out.oldest = 0
	case b.known:
		out.oldest = max(0, now.Sub(b.oldest).Seconds())
	}
	return out
}

// survey keeps the backlog up to date until ctx ends, also while the lane takes
// nothing: that is when it matters.
func (l *lane) survey(ctx context.Context) {
	sleep(ctx, min(surveyFirst, l.surveyEvery()))
	for ctx.Err() == nil {
		l.look(ctx)
		sleep(ctx, l.surveyEvery())
	}
}

func (l *lane) surveyEvery() time.Duration {
	if d := l.cfg.surveyEvery; d > 0 {
		return d
	}
	return surveyEvery
}

// look asks for the consumer's info, unless the binding has just done so, and for
// the time of the oldest message that is not settled, if there is one. An error
// leaves what was known: it is mostly that of a server that is away, and the lane's
// status says so.
func (l *lane) look(ctx context.Context) {
	b := &l.backlog
	b.mu.Lock()
	consumer, fresh := b.consumer, time.Since(b.at) < l.surveyEvery()
	b.mu.Unlock()
	if consumer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, bindWithin)
	defer cancel()
	if !fresh {
		info, err := consumer.Info(ctx)
		if err != nil {
			return
		}
		b.note(consumer, info)
	}
	b.mu.Lock()
	open, next, filters := b.waiting+b.unacked > 0, b.next, b.filters
	b.mu.Unlock()
	if !open {
		return
	}
	var oldest time.Time
	var sequence uint64
	for _, subject := range filters {
		m, err := streamread.Next(ctx, l.cfg.JS, l.Stream, subject, next)
		switch {
		case errors.Is(err, streamread.ErrNotFound):
		case err != nil:
			b.unread()
			return
		case oldest.IsZero() || m.Time.Before(oldest):
			oldest, sequence = m.Time, m.Sequence
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.oldest, b.sequence, b.known = oldest, sequence, true
}

// countLetters counts what the stream of the dead letters holds until ctx ends.
func (c *Consumer) countLetters(ctx context.Context) {
	if c.cfg.DLQStream == "" {
		return
	}
	every := lettersEvery
	if c.cfg.surveyEvery > 0 {
		every = c.cfg.surveyEvery
	}
	for ctx.Err() == nil {
		wait := every
		if err := c.countLettersOnce(ctx); errors.Is(err, context.DeadlineExceeded) {
			wait = max(every, lettersAgain)
		}
		sleep(ctx, wait)
	}
}

func (c *Consumer) countLettersOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bindWithin)
	defer cancel()
	s, err := c.cfg.JS.Stream(ctx, c.cfg.DLQStream)
	if err != nil {
		return err
	}
	c.cfg.Metrics.stored(s.CachedInfo().State.Msgs)
	return nil
}
