package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
)

// reader reads a stream from its beginning, every message once and in order,
// whatever happens to the broker meanwhile.
type reader struct {
	js     jetstream.JetStream
	stream string
	take   func(events.Message)
	next   atomic.Uint64 // the sequence that comes next
}

// run reads until ctx ends.
func (r *reader) run(ctx context.Context) {
	r.next.Store(1)
	for ctx.Err() == nil {
		if err := r.read(ctx); err != nil {
			wait(ctx, 200*time.Millisecond) // an election takes seconds
		}
	}
}

// read makes a consumer and reads until it breaks. The consumer lives on one
// node, in memory: when that node goes another is made, from where this one was.
func (r *reader) read(ctx context.Context) error {
	making, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cons, err := r.js.CreateConsumer(making, r.stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.next.Load(), AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		batch, err := cons.Fetch(200, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		for msg := range batch.Messages() {
			if err := r.pass(msg); err != nil {
				return err
			}
		}
		if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	return nil
}

var errGap = errors.New("a message is missing")

func (r *reader) pass(msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	if meta.Sequence.Stream != r.next.Load() {
		return errGap
	}
	r.take(events.Message{
		Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data(), Stream: r.stream, Sequence: meta.Sequence.Stream, Time: meta.Timestamp,
	})
	r.next.Add(1)
	return nil
}

// wait waits that long, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// takeEvent notes an output; parts of fetches go to the shelf.
func (s *soak) takeEvent(m events.Message) {
	parsed, err := events.ParseOutput(m)
	var p payload
	if err == nil {
		err = json.Unmarshal(parsed.Data, &p)
	}
	if err != nil {
		s.ledger.trouble(fmt.Sprintf("%s %d cannot be read: %v", m.Stream, m.Sequence, err))
		return
	}
	if id := header(m, events.HeaderMsgID); id != parsed.ID {
		s.ledger.trouble(fmt.Sprintf("%s %d has the message id %s and the event id %s", m.Stream, m.Sequence, id, parsed.ID))
	}
	switch parsed.Type {
	case events.TypeTransactionsFetched:
		s.shelf.put(parsed)
		return
	case events.TypeFetchCompleted:
		s.shelf.complete(parsed, p)
	}
	s.ledger.say(fact{
		id: parsed.ID, typ: parsed.Type, cause: parsed.CausationID, state: p.State, conn: parsed.ConnectionID, user: p.User, reason: p.Reason, detail: p.Detail, at: m.Time,
	}, p.Location)
}

// takeRequest notes the requests that the connector makes of itself.
func (s *soak) takeRequest(m events.Message) {
	if !bytes.Contains(m.Data, []byte(`"source":"`+events.Source+`"`)) {
		return
	}
	var e struct {
		ID   string               `json:"id"`
		Data events.SyncRequested `json:"data"`
	}
	if err := json.Unmarshal(m.Data, &e); err != nil {
		s.ledger.trouble(fmt.Sprintf("%s %d cannot be read: %v", m.Stream, m.Sequence, err))
		return
	}
	in := input{kind: aTimerSync, id: e.ID, key: "event " + e.ID, conn: e.Data.ConnectionID, stream: m.Stream, sequence: m.Sequence}
	if e.Data.Trigger == events.TriggerCallback {
		in.kind = aFirstSync
	}
	s.ledger.expect(in)
}

func (s *soak) takeCallback(m events.Message) {
	s.ledger.keep(place{m.Stream, m.Sequence}, m.Time)
}

func (s *soak) takeLetter(m events.Message) {
	sequence, err := strconv.ParseUint(header(m, consumer.HeaderSequence), 10, 64)
	if err != nil {
		s.ledger.trouble(fmt.Sprintf("dead letter %d names no sequence", m.Sequence))
		return
	}
	at := place{header(m, consumer.HeaderStream), sequence}
	s.ledger.bury(at, deadLetter{header(m, consumer.HeaderReason), header(m, consumer.HeaderError)})
}
