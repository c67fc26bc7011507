package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func (p *program) emitCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "emit",
		Short: "Publish one well-formed input event: the curl of this system",
		Long: `emit publishes one input event, checked beforehand as the connector will check it, and
prints where it is stored. The event is structured CloudEvents JSON, or with --bare the data
alone as "nats pub" would send it.`,
		Example: `  finx-connector emit connect --user-id me --redirect-uri https://app.example/callback
  finx-connector emit callback --url-file callback-url.txt
  finx-connector emit sync --connection-id 3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1`,
	}, p.emitConnectCommand(), p.emitCallbackCommand(), p.emitSyncCommand(), p.emitEraseCommand())
}

// emitted is what the stream said.
type emitted struct {
	Type      string `json:"type"`
	ID        string `json:"id"`
	Subject   string `json:"subject"`
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"sequence"`
	Duplicate bool   `json:"duplicate,omitempty"`
}

// emitter are the flags that all emit commands share.
type emitter struct {
	p    *program
	typ  string
	id   string
	bare bool
	out  format
}

// command completes c into one that publishes what data returns. What the
// connector would refuse is wrong usage, and is found before the broker is asked.
func (e *emitter) command(c *cobra.Command, data func(ctx context.Context) (any, error)) *cobra.Command {
	c.Args = cobra.NoArgs
	connected := e.p.brokerFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		d, err := data(c.Context())
		switch {
		case c.Context().Err() != nil:
			return c.Context().Err()
		case err != nil:
			return usageError{err}
		}
		if e.id == "" {
			e.id = events.NewUUID()
		}
		body, err := events.EncodeInput(e.typ, e.id, time.Now().UTC(), events.Cause{}, d)
		if err != nil {
			return usageError{err}
		}
		return connected(c.Context(), func(b *broker) error {
			got, err := e.publish(c.Context(), b, body)
			if err != nil {
				return err
			}
			return e.print(got)
		})
	}
	c.Flags().StringVar(&e.id, "id", "", "`id` of the event; the same one is handled once (default: a new one)")
	c.Flags().BoolVar(&e.bare, "bare", false, "send the data alone, without an envelope; the id goes into the header Nats-Msg-Id")
	e.out.flag(c)
	return c
}

// publish stores the event, if it keeps to this installation's limits as well.
func (e *emitter) publish(ctx context.Context, b *broker, body []byte) (emitted, error) {
	codec := app.Codec(b.settings)
	m := &nats.Msg{Subject: codec.Subject(e.typ), Data: body, Header: nats.Header{
		events.HeaderMsgID: {e.id}, events.HeaderContentType: {events.ContentTypeStructured},
	}}
	env, err := codec.Parse(events.Message{Subject: m.Subject, Header: m.Header, Data: body})
	if err != nil {
		return emitted{}, usageError{err}
	}
	if e.bare {
		m.Data = env.Data
		m.Header.Set(events.HeaderContentType, events.ContentTypeJSON)
	}
	ack, err := b.js.PublishMsg(ctx, m)
	if err != nil {
		return emitted{}, fmt.Errorf("publishing %s: %w", m.Subject, plainer(err))
	}
	return emitted{Type: e.typ, ID: e.id, Subject: m.Subject, Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil
}

// plainer says what the client's words for a missing stream mean.
func plainer(err error) error {
	if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		err = fmt.Errorf("no stream takes it; finx-connector streams check says what is missing: %w", err)
	}
	return fault.Transient(fault.NATS, err)
}

func (e *emitter) print(got emitted) error {
	if e.out.json() {
		return writeJSON(e.p.stdout, got)
	}
	t := newTable(e.p.stdout, "STREAM", "SEQUENCE", "ID", "SUBJECT")
	t.row(got.Stream, fmt.Sprint(got.Sequence), got.ID, got.Subject)
	if err := t.flush(); err != nil {
		return err
	}
	if got.Duplicate {
		fmt.Fprintln(e.p.stdout, "duplicate: the stream holds an event of this id already, nothing was stored")
	}
	return nil
}
