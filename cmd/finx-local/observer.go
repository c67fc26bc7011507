package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
)

// observer is a downstream: it reads every event the connector publishes,
// prints one line each, and remembers them by connection for the page.
type observer struct {
	print *printer

	mu    sync.Mutex
	seen  []seen
	fresh chan struct{} // closed and replaced at every event
}

// seen is an event with what a reader wants to know of it. Location is the one
// secret that events carry; it is kept for the redirect and never printed.
type seen struct {
	At           time.Time
	ID           string
	Type         string
	ConnectionID string
	CausationID  string
	Facts        string
	Bytes        int
	location     string
	payload      payload
}

// payload is the part of all output payloads that is looked at here.
type payload struct {
	Location string `json:"location"`
	State    string `json:"state"`
	Scope    string `json:"scope"`
	Reason   string `json:"reason"`
	Trigger  string `json:"trigger"`
	FetchID  string `json:"fetch_id"`
	Part     int    `json:"part"`
	Account  struct {
		AccountID string `json:"account_id"`
	} `json:"account"`
	Accounts     []events.AccountFetched `json:"accounts"`
	Transactions json.RawMessage         `json:"transactions"`
	EventIDs     []string                `json:"event_ids"`
}

func newObserver(p *printer) *observer { return &observer{print: p, fresh: make(chan struct{})} }

// watch reads the events stream from now on until ctx ends.
func (o *observer) watch(ctx context.Context, js jetstream.JetStream, stream string) error {
	cons, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		return fmt.Errorf("watching %s: %w", stream, err)
	}
	running, err := cons.Consume(o.take)
	if err != nil {
		return fmt.Errorf("watching %s: %w", stream, err)
	}
	context.AfterFunc(ctx, running.Stop)
	return nil
}

func (o *observer) take(msg jetstream.Msg) {
	out, err := events.ParseOutput(events.Message{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()})
	if err != nil {
		o.print.stepf("an event on %s cannot be read: %v", msg.Subject(), err)
		return
	}
	s := seen{
		At: time.Now(), ID: out.ID, Type: out.Type, ConnectionID: out.ConnectionID,
		CausationID: out.CausationID, Bytes: len(msg.Data()),
	}
	if err := json.Unmarshal(out.Data, &s.payload); err != nil {
		o.print.stepf("the data of event %s cannot be read: %v", out.ID, err)
		return
	}
	s.location, s.payload.Location = s.payload.Location, ""
	s.Facts = facts(s)
	about := "connection=" + short(s.ConnectionID)
	if s.ConnectionID == "" { // what operators did
		about = ""
	}
	o.print.outf("%-34s id=%s %s %s", s.Type, short(s.ID), about, s.Facts)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, s)
	close(o.fresh)
	o.fresh = make(chan struct{})
}

// facts says what is in an event: counts, reasons and sizes, nothing personal.
func facts(s seen) string {
	p := s.payload
	switch s.Type {
	case events.TypeWidgetLinkCreated:
		return "the link itself is in the event only"
	case events.TypeConnectionEstablished:
		return "scope=" + p.Scope
	case events.TypeConnectionFailed, events.TypeFetchFailed, events.TypeReauthorizationRequired:
		return "reason=" + p.Reason
	case events.TypeTransactionsFetched:
		var list []json.RawMessage
		_ = json.Unmarshal(p.Transactions, &list)
		return fmt.Sprintf("account=%s part=%d transactions=%d bytes=%d", p.Account.AccountID, p.Part, len(list), s.Bytes)
	case events.TypeFetchCompleted:
		return fmt.Sprintf("accounts=%d transactions=%s parts=%d trigger=%s", len(p.Accounts), p.Transactions, len(p.EventIDs), p.Trigger)
	}
	return ""
}

// await returns the first event that match accepts, already seen or to come.
func (o *observer) await(ctx context.Context, what string, match func(seen) bool) (seen, error) {
	next := 0
	for {
		o.mu.Lock()
		events, fresh := o.seen, o.fresh
		o.mu.Unlock()
		for ; next < len(events); next++ {
			if match(events[next]) {
				return events[next], nil
			}
		}
		select {
		case <-fresh:
		case <-ctx.Done():
			return seen{}, fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		}
	}
}

// of returns what was seen of one connection.
func (o *observer) of(connectionID string) []seen {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []seen
	for _, s := range o.seen {
		if s.ConnectionID == connectionID {
			out = append(out, s)
		}
	}
	return out
}

// connectionOf returns the connection that a state parameter belongs to.
func (o *observer) connectionOf(state string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.seen {
		if s.Type == events.TypeWidgetLinkCreated && s.payload.State == state {
			return s.ConnectionID
		}
	}
	return ""
}

func short(id string) string { return id[:min(8, len(id))] }
