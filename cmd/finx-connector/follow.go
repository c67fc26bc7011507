package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// outcome is how a fetch ended. Type is the event that said so, or "dead
// letter".
type outcome struct {
	Type         string    `json:"type"`
	Accounts     int       `json:"accounts,omitempty"`
	Transactions int       `json:"transactions,omitempty"`
	StartedAt    time.Time `json:"started_at,omitzero"`
	FinishedAt   time.Time `json:"finished_at,omitzero"`
	Reason       string    `json:"reason,omitempty"`
	Detail       string    `json:"detail,omitempty"`
}

const outcomeDeadLetter = "dead letter"

func (o outcome) completed() bool { return o.Type == events.TypeFetchCompleted }

func (o outcome) text() string {
	if o.completed() {
		return fmt.Sprintf("%s of %s in %s", counted(o.Transactions, "transaction"), counted(o.Accounts, "account"),
			o.FinishedAt.Sub(o.StartedAt).Round(time.Millisecond))
	}
	return o.Type + ": " + cmp.Or(o.Reason, "no reason given") + " " + o.Detail
}

// follower reads what the connector says about one request.
type follower struct {
	b                *broker
	eventID          string
	outputs, letters jetstream.Consumer
}

// follow begins to follow the events caused by the request eventID about a
// connection. What was stored before is not seen.
func (b *broker) follow(ctx context.Context, connectionID, eventID string) (*follower, error) {
	codec, perConnection := app.Codec(b.settings), b.settings.Subjects.PerConnection
	var subjects []string
	for _, typ := range []string{events.TypeFetchCompleted, events.TypeFetchFailed, events.TypeReauthorizationRequired} {
		subjects = append(subjects, codec.OutputSubject(typ, connectionID, perConnection))
	}
	f := &follower{b: b, eventID: eventID}
	var err error
	if f.outputs, err = b.newest(ctx, b.settings.Streams.Events, subjects...); err != nil {
		return nil, err
	}
	f.letters, err = b.newest(ctx, b.settings.Streams.DLQ, codec.DLQSubject(codec.Subject(events.TypeSyncRequested)))
	return f, err
}

// newest reads what a stream stores from now on.
func (b *broker) newest(ctx context.Context, stream string, subjects ...string) (jetstream.Consumer, error) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, fault.Transient(fault.NATS, fmt.Errorf("following stream %s: %w", stream, err))
	}
	c, err := b.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: subjects, DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq: s.CachedInfo().State.LastSeq + 1,
	})
	if err != nil {
		return nil, fault.Transient(fault.NATS, fmt.Errorf("following stream %s: %w", stream, err))
	}
	return c, nil
}

// wait returns how the request that is stored at sent ended. When ctx ends
// first, the error is its cause.
func (f *follower) wait(ctx context.Context, sent emitted) (outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		outcome outcome
		err     error
	}
	answers := make(chan answer, 2)
	watch := func(c jetstream.Consumer, read func(events.Message) (outcome, bool)) {
		o, err := first(ctx, c, read)
		answers <- answer{o, err}
	}
	go watch(f.outputs, f.output)
	go watch(f.letters, func(m events.Message) (outcome, bool) { return deadLetterOf(m, sent) })
	a := <-answers
	if a.err != nil && ctx.Err() != nil {
		a.err = context.Cause(ctx)
	}
	return a.outcome, a.err
}

// first returns what read makes of the first message it wants.
func first(ctx context.Context, c jetstream.Consumer, read func(events.Message) (outcome, bool)) (outcome, error) {
	messages, err := c.Messages()
	if err != nil {
		return outcome{}, fault.Transient(fault.NATS, err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return outcome{}, fault.Transient(fault.NATS, fmt.Errorf("following the fetch: %w", err))
		}
		if o, ok := read(events.Message{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()}); ok {
			return o, nil
		}
	}
}

// output reads an output event, if the request caused it.
func (f *follower) output(m events.Message) (outcome, bool) {
	o, err := events.ParseOutput(m)
	if err != nil || o.CausationID != f.eventID {
		return outcome{}, false
	}
	var data struct {
		Accounts     []json.RawMessage `json:"accounts"`
		Transactions int               `json:"transactions"`
		StartedAt    time.Time         `json:"started_at"`
		FinishedAt   time.Time         `json:"finished_at"`
		Reason       string            `json:"reason"`
		Detail       string            `json:"detail"`
	}
	if json.Unmarshal(o.Data, &data) != nil {
		return outcome{}, false
	}
	return outcome{
		Type: o.Type, Accounts: len(data.Accounts), Transactions: data.Transactions,
		StartedAt: data.StartedAt, FinishedAt: data.FinishedAt, Reason: data.Reason, Detail: data.Detail,
	}, true
}

// deadLetterOf reads a dead letter, if it is that of the request.
func deadLetterOf(m events.Message, sent emitted) (outcome, bool) {
	l := dlq.Read(m)
	if l.Original.Stream != sent.Stream || l.Original.Sequence != sent.Sequence {
		return outcome{}, false
	}
	return outcome{Type: outcomeDeadLetter, Reason: string(l.Reason), Detail: l.Error}, true
}
