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

// stallTimeout is how long List waits for the next record before it calls the
// broker away.
const stallTimeout = 30 * time.Second

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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kv, err := s.records.js.KeyValue(ctx, s.records.name)
	if err != nil {
		return fmt.Errorf("connectionkv: listing records: %w", judgeRead(err))
	}
	w, err := kv.Watch(ctx, recordPrefix+">", jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("connectionkv: listing records: %w", judgeRead(err))
	}
	defer stopWatch(w)

	unreadable := &UnreadableError{}
	stall := time.NewTimer(stallTimeout)
	defer stall.Stop()
	for {
		select {
		case e, open := <-w.Updates():
			if !open {
				return fmt.Errorf("connectionkv: listing records: %w", judgeRead(errors.New("the watch ended early")))
			}
			if e == nil { // all that there was at the start has come
				return unreadable.orNil()
			}
			stall.Reset(stallTimeout)
			r, err := connection.Decode(e.Value())
			if err != nil {
				unreadable.add(e.Key(), err)
				continue
			}
			if err := each(r); err != nil {
				return err
			}
			stall.Reset(stallTimeout)
		case <-stall.C:
			return fmt.Errorf("connectionkv: listing records: %w", judgeRead(fmt.Errorf("no record came within %s", stallTimeout)))
		case <-ctx.Done():
			return fmt.Errorf("connectionkv: listing records: %w", judgeRead(context.Cause(ctx)))
		}
	}
}

// stopWatch ends a watch and takes what it still wants to deliver: nats.go's
// watcher would wait for ever on a full channel otherwise.
func stopWatch(w jetstream.KeyWatcher) {
	_ = w.Stop()
	go func() {
		for range w.Updates() { // only drained; the closed handler ends it
		}
	}()
}

func (e *UnreadableError) add(key string, err error) {
	e.IDs = append(e.IDs, strings.TrimPrefix(key, recordPrefix))
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
