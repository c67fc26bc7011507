package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/publisher"
)

// aConnection returns the record of a connection that has been through a lot.
func aConnection(t *testing.T, id, user string, since time.Time) connection.Record {
	t.Helper()
	r := connection.New(id, user, since.Add(-time.Hour))
	r.OAuthState, r.RedirectURI, r.Request = "canary-state", "https://app.example/cb", json.RawMessage(`{"accounts":[{"id":"canary-account"}]}`)
	var err error
	for _, to := range []connection.State{connection.LinkCreated, connection.CallbackReceived, connection.Established} {
		if r, err = r.Move(to, since, "as it goes"); err != nil {
			t.Fatal(err)
		}
	}
	r = r.OpenFetch("fetch-1", events.TriggerCallback, connection.Ask{}, since).
		CloseFetch(since.Add(1500*time.Millisecond), map[string]connection.AccountMark{"A-1": {SyncedAt: "2026-01-01T00:00:00Z"}}, 42)
	r.NextFetchAt = since.Add(6 * time.Hour)
	return r.Note(since, "rejected", "finx: listing accounts: \x1b[31m403")
}

func (r *rig) store(t *testing.T, records ...connection.Record) *connectionkv.Store {
	t.Helper()
	s, err := connectionkv.New(connectionkv.Config{JS: r.js})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		if _, err := s.Create(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestConnectionsAreListed(t *testing.T) {
	r := applied(t)
	r.run(t, "connections", "list").done(t).prints(t, "CONNECTION  USER", "0 connections")
	if got := decodeJSON[[]connectionView](t, r.run(t, "connections", "list", "-o", "json").done(t)); got == nil || len(got) != 0 {
		t.Errorf("%v", got)
	}
	day := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.store(t, aConnection(t, "id-old", "anna", day), aConnection(t, "id-new", "anna", day.Add(time.Hour)), connection.New("id-mid", "bert", day.Add(time.Minute)))
	out := r.run(t, "connections", "list").done(t).
		prints(t, "established", `rejected: finx: listing`, "3 connections: 1 requested, 2 established").hides(t, "canary", "\x1b")
	r.run(t, "connections", "list", "--wide").done(t).prints(t, `rejected: finx: listing accounts: \x1b[31m403`)
	if !(strings.Index(out.stdout, "id-new") < strings.Index(out.stdout, "id-mid") && strings.Index(out.stdout, "id-mid") < strings.Index(out.stdout, "id-old")) {
		t.Errorf("order:\n%s", out.stdout)
	}
	for args, want := range map[string][]string{
		"":                                    {"id-new", "id-mid", "id-old"},
		"--user anna":                         {"id-new", "id-old"},
		"--state requested":                   {"id-mid"},
		"--state established --user bert":     nil,
		"--limit 2":                           {"id-new", "id-mid"},
		"--limit 0 --user anna --timeout 20s": {"id-new", "id-old"},
	} {
		var got []string
		for _, v := range decodeJSON[[]connectionView](t, r.run(t, append([]string{"connections", "list", "-o", "json"}, strings.Fields(args)...)...).done(t).hides(t, "canary")) {
			got = append(got, v.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q", args, got)
		}
	}
	r.run(t, "connections", "list", "--limit", "1").done(t).complains(t, "1 of 3 shown; --limit 0 shows all")
}

func TestUnreadableConnectionsDoNotHideTheOthers(t *testing.T) {
	r := applied(t)
	r.store(t, connection.New("id-1", "anna", time.Now()))
	kv, err := r.js.KeyValue(t.Context(), connectionkv.BucketConnections)
	if err == nil {
		_, err = kv.Put(t.Context(), "connection.id-2", []byte("{"))
	}
	if err != nil {
		t.Fatal(err)
	}
	r.run(t, "connections", "list").exits(t, exitFailed).prints(t, "id-1").complains(t, "1 left out, the first is id-2")
}

func TestAConnectionIsShown(t *testing.T) {
	r := applied(t)
	r.store(t, aConnection(t, connectionID, "anna", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
	r.run(t, "connections", "show", connectionID).done(t).
		prints(t, "user", "anna", "fetch-1 (callback)", "42 transactions of 1 account in 1.5s", "A-1", "callback_received", "as it goes").
		hides(t, "canary")
	got := decodeJSON[connectionDetails](t, r.run(t, "connections", "show", connectionID, "-o", "json").done(t).hides(t, "canary"))
	if got.ID != connectionID || len(got.History) != 4 || got.LastFetch.Transactions != 42 || got.LastError.Reason != "rejected" {
		t.Errorf("%+v", got)
	}
	r.run(t, "connections", "show", "nobody").exits(t, exitFailed).complains(t, "there is no connection nobody")
	r.run(t, "connections", "show", "no body").exits(t, exitFailed)
}

// play answers every sync request with what answer makes of it, as the
// connector would, until the test ends.
func (r *rig) play(t *testing.T, answer func(e events.Envelope, m events.Message, p *publisher.Publisher) error) {
	t.Helper()
	pub, err := publisher.New(publisher.Config{JS: r.js})
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.js.Consumer(t.Context(), events.StreamRequests, "finx-syncs")
	if err != nil {
		t.Fatal(err)
	}
	reading, err := c.Consume(func(m jetstream.Msg) {
		meta, err := m.Metadata()
		if err != nil {
			t.Error(err)
			return
		}
		in := events.Message{Subject: m.Subject(), Header: m.Headers(), Data: m.Data(), Stream: meta.Stream, Sequence: meta.Sequence.Stream}
		e, err := events.Codec{}.Parse(in)
		if err == nil {
			err = answer(e, in, pub)
		}
		// A test ends when the command has read the answer, which may be before
		// the broker's acknowledgement of it comes back here.
		if err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reading.Stop(); <-reading.Closed() })
}

func TestSyncWaitsForTheEnd(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	completed := func(e events.Envelope) events.Output {
		return events.NewFetchCompleted(e.Cause(), events.FetchCompleted{
			ConnectionID: connectionID, FetchID: events.FetchID(e), Accounts: []events.AccountFetched{{AccountID: "A-1"}},
			Transactions: 7, StartedAt: now, FinishedAt: now.Add(2 * time.Second),
		})
	}
	for name, tc := range map[string]struct {
		output func(e events.Envelope) events.Output
		code   int
		prints string
		says   string
	}{
		"completed": {completed, exitOK, "completed: 7 transactions of 1 account in 2s", ""},
		"failed": {func(e events.Envelope) events.Output {
			return events.NewFetchFailed(e.Cause(), events.FetchFailed{ConnectionID: connectionID, FetchID: events.FetchID(e), Reason: "rejected", Detail: "403"})
		}, exitFailed, "asked for", "the fetch failed: transactions.fetch.failed: rejected 403"},
		"reauthorization": {func(e events.Envelope) events.Output {
			return events.NewReauthorizationRequired(e.Cause(), events.ReauthorizationRequired{ConnectionID: connectionID, Reason: events.ReasonRefreshRejected})
		}, exitFailed, "asked for", "connection.reauthorization.required: refresh_rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			r := applied(t)
			r.store(t, aConnection(t, connectionID, "anna", now))
			r.play(t, func(e events.Envelope, _ events.Message, p *publisher.Publisher) error {
				// Somebody else's fetch ends first.
				if _, err := p.Publish(t.Context(), completed(events.Envelope{ID: "another"})); err != nil {
					return err
				}
				_, err := p.Publish(t.Context(), tc.output(e))
				return err
			})
			r.run(t, "connections", "sync", connectionID, "--wait", "--wait-timeout", "30s").exits(t, tc.code).prints(t, tc.prints).complains(t, tc.says)
			got := decodeJSON[asked](t, r.run(t, "connections", "sync", connectionID, "--wait", "--since", "2026-01-01", "-o", "json").exits(t, tc.code))
			e, err := events.Codec{}.Parse(r.last(t, events.StreamRequests))
			if err != nil || got.ID != e.ID || got.FetchID != events.FetchID(e) || got.Outcome == nil || got.Outcome.completed() != (tc.code == exitOK) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestSyncHearsOfItsDeadLetter(t *testing.T) {
	r := applied(t)
	r.store(t, aConnection(t, connectionID, "anna", time.Now()))
	r.play(t, func(_ events.Envelope, m events.Message, _ *publisher.Publisher) error {
		_, err := r.js.PublishMsg(t.Context(), &nats.Msg{Subject: "dlq." + m.Subject, Header: nats.Header{
			consumer.HeaderReason: {"exhausted"}, consumer.HeaderError: {"vault: sealed"},
			consumer.HeaderStream: {m.Stream}, consumer.HeaderSequence: {fmt.Sprint(m.Sequence)},
		}})
		return err
	})
	r.run(t, "connections", "sync", connectionID, "--wait", "--wait-timeout", "30s").exits(t, exitFailed).
		complains(t, "the fetch failed: dead letter: exhausted vault: sealed")
}

func TestSyncGivesUpWaiting(t *testing.T) {
	r := applied(t)
	r.store(t, aConnection(t, connectionID, "anna", time.Now()), connection.New("9f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1", "bert", time.Now()))
	r.run(t, "connections", "sync", connectionID, "--wait", "--wait-timeout", "50ms").exits(t, exitFailed).
		prints(t, "asked for").complains(t, "no end of the fetch within 50ms; it goes on")
	r.run(t, "connections", "sync", "9f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1").exits(t, exitFailed).complains(t, "is requested: only an established one")
	r.run(t, "connections", "sync", "8f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1").exits(t, exitFailed).complains(t, "there is no connection 8f0c")
	r.run(t, "connections", "sync", connectionID).done(t).prints(t, "asked for (stream FINX_REQUESTS, sequence 2)")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.runContext(ctx, "", "connections", "sync", connectionID, "--wait").exits(t, exitFailed).complains(t, "interrupted")
}
