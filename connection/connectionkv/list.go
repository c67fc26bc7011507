package connectionkv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

const (
	// stallTimeout is how long List waits for the next record before it calls the
	// broker away.
	stallTimeout = 30 * time.Second
	// listAhead is how many records are asked for before they are needed: half a
	// megabyte of usual ones.
	listAhead = 256
	// listHeartbeat is how soon a lost request is noticed and made again.
	listHeartbeat = 5 * time.Second
)

// UnreadableError lists the records that List had to leave out.
type UnreadableError struct {
	IDs   []string // of the connections
	First error    // why the first of them could not be read
}

// Error counts the records and gives the first reason.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("connectionkv: listing records: %d left out, the first is %s: %v", len(e.IDs), e.IDs[0], e.First)
}

// Unwrap returns the first reason.
func (e *UnreadableError) Unwrap() error { return e.First }

// List calls each with every record there is, in no particular order, and holds
// a few hundred in memory at most. A record written meanwhile may come in its
// old or its new form, or both. When each returns an error, List stops and
// returns it as it is. Records that cannot be read do not stop the others: they
// are named by an *UnreadableError at the end.
func (s *Store) List(ctx context.Context, each func(connection.Record) error) error {
	err := s.list(ctx, each)
	s.metrics.observe(opList, err)
	return err
}

func (s *Store) list(ctx context.Context, each func(connection.Record) error) error {
	fail := func(err error) error { return fmt.Errorf("connectionkv: listing records: %w", judgeRead(err)) }
	prefix := s.records.keySubject(recordPrefix)
	// Pulled, in pieces: a watch has the broker push up to 32 MB ahead of whoever
	// decodes them, and with the garbage of that a process is three times its size.
	walk, err := s.records.js.OrderedConsumer(ctx, "KV_"+s.records.name, jetstream.OrderedConsumerConfig{FilterSubjects: []string{prefix + ">"}})
	if err != nil {
		return fail(err)
	}
	if info := walk.CachedInfo(); info != nil && info.NumPending == 0 {
		return nil
	}
	messages, err := walk.Messages(jetstream.PullMaxMessages(listAhead), jetstream.PullHeartbeat(listHeartbeat))
	if err != nil {
		return fail(err)
	}
	defer messages.Stop()
	unreadable := &UnreadableError{}
	for {
		m, err := nextOf(ctx, messages)
		if err != nil {
			return fail(err)
		}
		if isValue(m.Headers()) {
			r, err := connection.Decode(m.Data())
			if err != nil {
				unreadable.add(strings.TrimPrefix(m.Subject(), prefix), err)
			} else if err := each(r); err != nil {
				return err
			}
		}
		meta, err := m.Metadata()
		if err != nil {
			return fail(err)
		}
		if meta.NumPending == 0 { // all that there was, and what came meanwhile
			return unreadable.orNil()
		}
	}
}

// nextOf waits for the next message, but not for ever.
func nextOf(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	waiting, cancel := context.WithTimeout(ctx, stallTimeout)
	defer cancel()
	m, err := messages.Next(jetstream.NextContext(waiting))
	switch {
	case err == nil:
		return m, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case waiting.Err() != nil:
		return nil, fmt.Errorf("no record came within %s", stallTimeout)
	}
	return nil, err
}

func (e *UnreadableError) add(id string, err error) {
	e.IDs = append(e.IDs, id)
	if e.First == nil {
		e.First = err
	}
}

func (e *UnreadableError) orNil() error {
	if len(e.IDs) == 0 {
		return nil
	}
	return e
}

// Check reports whether the buckets are there and fit, for readiness and
// doctor. The remedy is in the error: `streams apply`.
func (s *Store) Check(ctx context.Context) error {
	for _, b := range []bucket{s.records, s.leases} {
		if err := b.check(ctx); err != nil {
			return fmt.Errorf("connectionkv: checking bucket %s: %w", b.name, err)
		}
	}
	return nil
}

func (b bucket) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	kv, err := b.js.KeyValue(ctx, b.name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return judgeRead(errors.New("it does not exist; run `finx-connector streams apply`"))
	}
	if err != nil {
		return judgeRead(err)
	}
	if b.name == BucketConnections {
		return nil
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return judgeRead(err)
	}
	if status.LimitMarkerTTL() <= 0 {
		return fault.Transient(fault.NATS, errors.New("it does not allow keys with a TTL; run `finx-connector streams apply`"))
	}
	return nil
}
