package dlq_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/streams"
)

const canaryCode = "canary-code-4711"

// rig is a broker with the streams and the dead letters on it.
type rig struct {
	js    jetstream.JetStream
	queue *dlq.Queue
	codec events.Codec
}

func newRig(t *testing.T, codec events.Codec, opts ...natstest.Option) *rig {
	t.Helper()
	srv := natstest.Start(t, opts...)
	js := natstest.JetStream(t, srv.URL())
	topology := streams.Plan(streams.Config{Codec: codec})
	changes, err := topology.Diff(t.Context(), js)
	if err == nil {
		err = topology.Apply(t.Context(), js, changes)
	}
	if err != nil {
		t.Fatal(err)
	}
	q, err := dlq.New(dlq.Config{JS: js, Codec: codec, PublishBudget: time.Second, Who: func(_ context.Context, state string) (string, string, error) {
		return "of-" + state, "anna", nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{js, q, codec}
}

// publish stores a message on the subject of a type, with a Nats-Msg-Id unless
// id is empty.
func (r *rig) publish(t *testing.T, subject, id, body string, headers ...string) uint64 {
	t.Helper()
	m := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{}}
	if id != "" {
		m.Header.Set(events.HeaderMsgID, id)
	}
	for i := 0; i < len(headers); i += 2 {
		m.Header[headers[i]] = []string{headers[i+1]}
	}
	ack, err := r.js.PublishMsg(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// giveUp runs the real consumer until there are n dead letters, whose class is
// that of the verdict every event gets.
func (r *rig) giveUp(t *testing.T, n uint64, class fault.Class) {
	t.Helper()
	lane := func(name, stream, durable string) consumer.Lane {
		return consumer.Lane{
			Name: name, Stream: stream, Durable: durable, Slots: 4, Deadline: time.Minute, MaxAttempts: 1,
			Handle: func(context.Context, consumer.Delivery) error {
				return fault.Permanent(class, errors.New("user_id: not today"))
			},
		}
	}
	callbacks := lane("callbacks", events.StreamCallbacks, streams.DurableCallbacks)
	callbacks.Redact = events.RedactCallback
	c, err := consumer.New(consumer.Config{
		JS: r.js, Codec: r.codec, DLQStream: events.StreamDLQ,
		Lanes: []consumer.Lane{callbacks, lane("connects", events.StreamRequests, streams.DurableConnects), lane("syncs", events.StreamRequests, streams.DurableSyncs), lane("due", events.StreamTimers, streams.DurableDue)},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	natstest.Eventually(t, 30*time.Second, func() bool { return r.count(t, events.StreamDLQ) >= n }, "dead letters are there")
	stop()
	<-ended
}

func (r *rig) stream(t *testing.T, name string) jetstream.Stream {
	t.Helper()
	s, err := r.js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (r *rig) count(t *testing.T, stream string) uint64 {
	t.Helper()
	return r.stream(t, stream).CachedInfo().State.Msgs
}

// last returns the newest message of a stream.
func (r *rig) last(t *testing.T, stream string) events.Message {
	t.Helper()
	s := r.stream(t, stream)
	m, err := s.GetMsg(t.Context(), s.CachedInfo().State.LastSeq)
	if err != nil {
		t.Fatal(err)
	}
	return events.Message{Subject: m.Subject, Header: m.Header, Data: m.Data, Stream: stream, Sequence: m.Sequence, Time: m.Time}
}

// letters returns those of a filter.
func (r *rig) letters(t *testing.T, f dlq.Filter) []dlq.Letter {
	t.Helper()
	var all []dlq.Letter
	err := r.queue.Each(t.Context(), f, func(l dlq.Letter) error {
		all = append(all, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// prepare returns the event of the only dead letter.
func (r *rig) prepare(t *testing.T) dlq.Event {
	t.Helper()
	all := r.letters(t, dlq.Filter{})
	if len(all) != 1 {
		t.Fatalf("%d dead letters, want 1", len(all))
	}
	e, err := r.queue.Prepare(t.Context(), all[0])
	if err != nil {
		t.Fatal(err)
	}
	return e
}
