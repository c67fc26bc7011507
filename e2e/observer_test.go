package e2e_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
)

// event is an output as downstream sees it.
type event struct {
	events.Output
	payload
	Message events.Message
}

// payload has the members of all output payloads that tests look at.
type payload struct {
	Connection   string                  `json:"connection_id"`
	User         string                  `json:"user_id"`
	State        string                  `json:"state"`
	Location     string                  `json:"location"`
	FlowID       string                  `json:"flow_id"`
	TrackingID   string                  `json:"tracking_id"`
	Scope        string                  `json:"scope"`
	Reason       string                  `json:"reason"`
	Detail       string                  `json:"detail"`
	FetchID      string                  `json:"fetch_id"`
	Trigger      string                  `json:"trigger"`
	Part         int                     `json:"part"`
	Accounts     []events.AccountFetched `json:"accounts"`
	EventIDs     []string                `json:"event_ids"`
	Window       events.Window           `json:"window"`
	Transactions json.RawMessage         `json:"transactions"`
}

// observer reads every stream from its beginning: what is on the broker for
// anybody to read.
type observer struct {
	t testing.TB

	mu      sync.Mutex
	all     []events.Message
	events  []event
	letters []events.Message
	syncs   []events.Message
	fresh   chan struct{} // closed and replaced at every message
}

func newObserver(t testing.TB, js jetstream.JetStream, codec events.Codec, blind bool) *observer {
	t.Helper()
	o := &observer{t: t, fresh: make(chan struct{})}
	follow := o.consume
	if js.Conn().ConnectedClusterName() != "" {
		follow = o.read
	}
	for _, stream := range []string{events.StreamRequests, events.StreamCallbacks, events.StreamEvents, events.StreamTimers, events.StreamDLQ} {
		if !blind || stream != events.StreamEvents {
			follow(js, codec, stream)
		}
	}
	return o
}

// consume has the broker send everything.
func (o *observer) consume(js jetstream.JetStream, codec events.Codec, stream string) {
	o.t.Helper()
	cons, err := js.OrderedConsumer(o.t.Context(), stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		o.t.Fatal(err)
	}
	running, err := cons.Consume(func(msg jetstream.Msg) {
		meta, err := msg.Metadata()
		if err != nil {
			o.t.Error(err)
			return
		}
		o.take(events.Message{
			Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data(),
			Stream: meta.Stream, Sequence: meta.Sequence.Stream, Time: meta.Timestamp,
		}, codec)
	})
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() {
		running.Stop()
		<-running.Closed()
	})
}

// read asks for one message after the other. That has no consumer which could
// go away with a broker's node.
func (o *observer) read(js jetstream.JetStream, codec events.Codec, name string) {
	o.t.Helper()
	stream, err := js.Stream(o.t.Context(), name)
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(withoutCancel(o.t.Context()))
	var done sync.WaitGroup
	done.Go(func() {
		for next := uint64(1); ctx.Err() == nil; {
			try, cancel := context.WithTimeout(ctx, 2*time.Second)
			m, err := stream.GetMsg(try, next, jetstream.WithGetMsgSubject(">"))
			cancel()
			if err != nil {
				pause(o.t, 20*time.Millisecond) // nothing new, or nobody who could say
				continue
			}
			o.take(events.Message{Subject: m.Subject, Header: m.Header, Data: m.Data, Stream: name, Sequence: m.Sequence, Time: m.Time}, codec)
			next = m.Sequence + 1
		}
	})
	o.t.Cleanup(func() {
		cancel()
		done.Wait()
	})
}

func (o *observer) take(m events.Message, codec events.Codec) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, m)
	switch typ, _ := codec.TypeOf(m.Subject); {
	case m.Stream == events.StreamDLQ:
		o.letters = append(o.letters, m)
	case m.Stream == events.StreamEvents:
		e := event{Message: m}
		var err error
		if e.Output, err = events.ParseOutput(m); err == nil {
			err = json.Unmarshal(e.Data, &e.payload)
		}
		if err != nil {
			o.t.Errorf("an output on %s cannot be read: %v", m.Subject, err)
		}
		o.events = append(o.events, e)
	case m.Stream == events.StreamRequests && typ == events.TypeSyncRequested:
		o.syncs = append(o.syncs, m)
	}
	close(o.fresh)
	o.fresh = make(chan struct{})
}

// await waits until find has found something.
func await[T any](r *rig, timeout time.Duration, what string, find func() (T, bool)) T {
	r.t.Helper()
	o := r.seen
	ctx, cancel := context.WithTimeout(r.t.Context(), timeout)
	defer cancel()
	for {
		o.mu.Lock()
		fresh := o.fresh
		found, ok := find()
		o.mu.Unlock()
		if ok {
			return found
		}
		select {
		case <-fresh:
		case <-ctx.Done():
			r.t.Fatalf("no %s within %s; seen:%s", what, timeout, o.summary())
		}
	}
}

// event waits for the first output that match accepts.
func (r *rig) event(what string, match func(event) bool) event {
	r.t.Helper()
	return await(r, within, what, func() (event, bool) {
		i := slices.IndexFunc(r.seen.events, match)
		if i < 0 {
			return event{}, false
		}
		return r.seen.events[i], true
	})
}

// letter waits for the dead letter of a message.
func (r *rig) letter(stream string, sequence uint64) events.Message {
	r.t.Helper()
	id := letterID(stream, sequence)
	return await(r, within, "dead letter "+id, func() (events.Message, bool) {
		letters := r.seen.letters
		i := slices.IndexFunc(letters, func(m events.Message) bool { return header(m, events.HeaderMsgID) == id })
		if i < 0 {
			return events.Message{}, false
		}
		return letters[i], true
	})
}

// of returns the outputs of one type and connection so far; an empty id means all.
func (o *observer) of(typ, connectionID string) []event {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []event
	for _, e := range o.events {
		if e.Type == typ && (connectionID == "" || e.ConnectionID == connectionID) {
			out = append(out, e)
		}
	}
	return out
}

// messages returns everything on the broker's streams so far.
func (o *observer) messages() []events.Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.all)
}

func (o *observer) lettersSoFar() []events.Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.letters)
}

// summary lists what was seen, for a failed wait.
func (o *observer) summary() string {
	text := ""
	for _, m := range o.messages() {
		text += "\n  " + m.Stream + " " + m.Subject
		if m.Stream == events.StreamDLQ {
			text += " " + header(m, consumer.HeaderReason) + ": " + header(m, consumer.HeaderError)
		}
	}
	for _, e := range o.of(events.TypeConnectionFailed, "") {
		text += "\n  failed: " + e.Reason + ": " + e.Detail
	}
	for _, e := range o.of(events.TypeFetchFailed, "") {
		text += "\n  fetch failed: " + e.Reason + ": " + e.Detail
	}
	return text
}

func header(m events.Message, name string) string {
	if values := m.Header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}
