package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
)

// TestMemoryOfManyFetches has one process of the real program make as many fetches
// at once as it may, at a second a call, and holds its memory to a bound: what it
// takes idle and a share for each fetch, for 2,000 of them below 300 MiB. Histories
// of several pages have a larger share, as what fills no event yet has to wait for
// the next page.
func TestMemoryOfManyFetches(t *testing.T) {
	fetches := 500
	if os.Getenv("FINX_TEST_LONG") != "" {
		fetches = 2000
	}
	for _, shape := range []struct {
		name                     string
		accounts, each, pageSize int
		share                    float64 // MiB
		long                     bool
	}{
		{"usual histories", 3, 82, 1000, 0.11, false},
		// A page that a host might have capped is asked for beyond its end.
		{"a call more for each account", 2, 100, 1000, 0.11, false},
		{"histories of several pages", 1, 1001, 250, 0.21, true},
	} {
		t.Run(shape.name, func(t *testing.T) {
			if shape.long {
				long(t)
			}
			bound := 80 + shape.share*float64(fetches)
			c := newCrowd(t, fetches, shape.accounts, shape.each, map[string]string{"PAGE_SIZE": strconv.Itoa(shape.pageSize)})
			c.establish()
			first := c.p.resident()
			c.p.forgetPeak()
			c.bank.control("faults", map[string]any{"call": "*", "delay": "1s"})
			begun := time.Now()
			most := c.fetch()
			peak := float64(c.p.resident().peak) / oneMiB
			t.Logf("%d fetches in %s, %.0f at once: %.1f MiB after the first fetches (at most %.1f), peak %.1f MiB, bound %.0f MiB",
				fetches, time.Since(begun).Round(time.Second), most, float64(first.now)/oneMiB, float64(first.peak)/oneMiB, peak, bound)
			if peak > bound {
				t.Errorf("the peak is %.1f MiB, bound %.0f MiB", peak, bound)
			}
			if most < float64(fetches) {
				t.Errorf("%.0f fetches were in flight at once, want %d", most, fetches)
			}
		})
	}
}

// crowd is many connections of one process.
type crowd struct {
	*rig
	bank         *sandboxProcess
	p            *process
	fetches      int
	transactions int // of each
	news         jetstream.MessagesContext
	ids          []string // of the connections
}

func newCrowd(t *testing.T, fetches, accounts, each int, env map[string]string) *crowd {
	c := &crowd{fetches: fetches, transactions: accounts * each}
	c.bank = startSandbox(t, "--accounts", strconv.Itoa(accounts), "--transactions", strconv.Itoa(c.transactions), "--pending", "0", "--log", "warn")
	env["FINX_BASE_URL"] = c.bank.base // past the gates, which keep what passes
	env["SYNC_CONCURRENCY"] = strconv.Itoa(fetches)
	env["ACK_WAIT"], env["FINX_TIMEOUT_TOKEN"], env["LOG_LEVEL"] = "30s", "1m", "warn"
	c.rig = newRig(t, options{blind: true, env: env})
	c.env["VAULT_ADDR"] = c.vault.Addr
	c.p = c.serve()
	// Everything but the transactions, which are counted by their fetches.
	cons, err := c.js.OrderedConsumer(t.Context(), events.StreamEvents, jetstream.OrderedConsumerConfig{FilterSubjects: []string{
		events.TypeWidgetLinkCreated, events.TypeConnectionFailed, events.TypeFetchCompleted, events.TypeFetchFailed,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if c.news, err = cons.Messages(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.news.Stop)
	return c
}

// next waits for the next event, which must not be one of a failure.
func (c *crowd) next() event {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Minute)
	defer cancel()
	msg, err := c.news.Next(jetstream.NextContext(ctx))
	if err != nil {
		c.t.Fatalf("waiting for an event: %v", err)
	}
	var e event
	if e.Output, err = events.ParseOutput(events.Message{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()}); err == nil {
		err = json.Unmarshal(e.Data, &e.payload)
	}
	if err != nil || e.Type == events.TypeConnectionFailed || e.Type == events.TypeFetchFailed {
		c.t.Fatalf("%s: %s, %v", msg.Subject(), msg.Data(), err)
	}
	if e.Type == events.TypeFetchCompleted && string(e.Transactions) != strconv.Itoa(c.transactions) {
		c.t.Fatalf("%s transactions, want %d", e.Transactions, c.transactions)
	}
	return e
}

// establish connects all users and waits for their first fetches.
func (c *crowd) establish() {
	c.t.Helper()
	for n := range c.fetches {
		c.send(events.TypeConnectRequested, map[string]any{"user_id": fmt.Sprintf("crowd-%d@example.com", n), "redirect_uri": redirectURI})
	}
	for len(c.ids) < c.fetches {
		switch e := c.next(); e.Type {
		case events.TypeWidgetLinkCreated:
			c.callback(c.bank.leave(e.Location, "approve"))
		case events.TypeFetchCompleted:
			c.ids = append(c.ids, e.ConnectionID)
		}
	}
	c.p.idle(c.t)
}

// fetch asks for all connections at once, waits until all are fetched, and returns
// how many were in flight at the same time.
func (c *crowd) fetch() (most float64) {
	c.t.Helper()
	for _, id := range c.ids {
		c.send(events.TypeSyncRequested, map[string]any{"connection_id": id, "full": true})
	}
	done := make(chan struct{})
	watched := make(chan float64, 1)
	go func() {
		most := 0.0
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			most = max(most, c.p.gauge("finx_connector_consumer_in_flight", `lane="syncs"`))
			select {
			case <-done:
				tick.Stop()
				watched <- most
				return
			case <-tick.C:
			}
		}
	}()
	for range c.ids {
		c.next()
	}
	close(done)
	return <-watched
}
