package e2e_test

import (
	"bytes"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// act is something that a role does, given that its program runs where it is one
// that runs all the time.
type act struct {
	name string
	do   func(r *roled)
}

// connectorActs are what a connector does in its life. Each can be repeated.
func connectorActs() []act { return append(dailyActs(), troubledActs()...) }

// dailyActs are those of a day on which nothing is away for long. The first is of a user
// whose large transaction nobody has stored yet.
func dailyActs() []act {
	return []act{
		{"a user is connected and fetched", func(r *roled) { r.establish(events.NewUUID() + "@example.com") }},
		{"an event is malformed", func(r *roled) {
			r.letter(r.publish(events.TypeConnectRequested, []byte(`{"user_id":"x"}`)))
			r.letter(r.publish(events.TypeCallbackReceived, []byte(`{"state":"nobody's","success":true,"code":"c"}`)))
			r.letter(r.publish(events.TypeSyncRequested, []byte(`{}`)))
		}},
		{"a request waits long", func(r *roled) {
			r.busy("access")
			r.connect("late@example.com")
		}},
		{"a callback waits long", func(r *roled) {
			link := r.connect("later@example.com")
			back := r.approve(link.Location)
			r.busy("token.exchange")
			r.callback(back)
			r.completed(link.ConnectionID, 1)
		}},
		{"a fetch waits long", func(r *roled) {
			link, _ := r.establish("latest@example.com")
			r.busy("accounts")
			r.fetchedBy(r.send(events.TypeSyncRequested, syncData(link.ConnectionID)))
		}},
		{"a keep-alive waits long", func(r *roled) {
			r.establish("idle@example.com")
			before := r.sandbox.Stats()
			r.busy("token.refresh")
			heldUntil(r.rig, "a rotation after a wait", func() bool {
				now := r.sandbox.Stats()
				return now.Calls["token.refresh"][http.StatusLocked] > before.Calls["token.refresh"][http.StatusLocked] && now.Rotations > before.Rotations
			})
		}},
		{"a fetch is due", func(r *roled) {
			link, _ := r.establish("due@example.com")
			r.event("a fetch by schedule", func(e event) bool {
				return e.Type == events.TypeFetchCompleted && e.ConnectionID == link.ConnectionID && e.Trigger == events.TriggerSchedule
			})
		}},
	}
}

// troubledActs are those of a day on which much goes wrong.
func troubledActs() []act {
	return []act{
		{"a timer cannot be handled", func(r *roled) {
			id := events.NewUUID()
			r.put(connectionkv.BucketConnections, "connection."+id, "not a record")
			stream, sequence := r.publish(events.SubjectDueKeepAlive+"."+id, encode(r.t, map[string]any{"connection_id": id}))
			r.parked(stream, sequence)
		}},
		{"finX is away", func(r *roled) {
			r.bank.answer(func(passing) (int, string) { return http.StatusBadGateway, "<html>Bad Gateway" })
			defer r.bank.answer(nil)
			id := r.send(events.TypeConnectRequested, map[string]any{"user_id": "away@example.com", "redirect_uri": redirectURI})
			heldUntil(r.rig, "breaker", func() bool { return r.has(connectionkv.BucketControl, "breaker.finx") })
			r.bank.answer(nil)
			r.link(id)
		}},
		{"an event has ended a process before", func(r *roled) {
			r.stop()
			id := r.send(events.TypeConnectRequested, map[string]any{"user_id": "deadly@example.com", "redirect_uri": redirectURI})
			r.handBack(events.StreamRequests, "finx-connects", 4)
			r.stop = r.again()
			r.link(id)
		}},
		{"a dead letter is there already", func(r *roled) {
			r.stop()
			stream, sequence := r.publish(events.TypeConnectRequested, []byte(`{}`))
			r.publish(events.SubjectDLQ+"."+events.TypeConnectRequested, []byte(`{}`), events.HeaderMsgID, letterID(stream, sequence))
			r.stop = r.again()
			r.nothingLeft(stream, "finx-connects")
		}},
		{"Vault does not take tokens", func(r *roled) {
			link := r.connect("escrow@example.com")
			back := r.approve(link.Location)
			var inHand atomic.Bool
			r.bank.on(func(p passing) bool {
				if p.Answered && p.is(http.MethodPost, "/auth/token") && bytes.Contains(p.Body, []byte(code(back))) {
					inHand.Store(true)
				}
				return false
			})
			defer r.bank.on(nil)
			r.safe.answer(func(p passing) (int, string) {
				if inHand.Load() && strings.Contains(p.Path, link.ConnectionID) {
					return http.StatusServiceUnavailable, `{"errors":["Vault is sealed"]}`
				}
				return 0, ""
			})
			defer r.safe.answer(nil)
			r.callback(back)
			holds := func(want int) func() bool {
				return func() bool { return len(r.escrow()) == want }
			}
			heldUntil(r.rig, "an answer in "+connectionkv.BucketEscrow, holds(1))
			r.restart() // the next process finds it there
			r.safe.answer(nil)
			r.completed(link.ConnectionID, 1)
			heldUntil(r.rig, "none in "+connectionkv.BucketEscrow, holds(0))
		}},
	}
}

// put writes into a bucket, past the connector.
func (r *rig) put(bucket, key, value string) {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), bucket)
	if err == nil {
		_, err = kv.PutString(r.t.Context(), key, value)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// has reports whether a bucket has a key.
func (r *rig) has(bucket, key string) bool {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), bucket)
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = kv.Get(r.t.Context(), key)
	return err == nil
}

// nothingLeft waits until nothing of a consumer is left to do.
func (r *rig) nothingLeft(stream, durable string) {
	r.t.Helper()
	heldUntil(r, "end of the work of "+durable, func() bool {
		c, err := r.js.Consumer(r.t.Context(), stream, durable)
		return err == nil && c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
	})
}

// handBack takes everything from a consumer and gives it back, so many times.
func (r *rig) handBack(stream, durable string, times int) {
	r.t.Helper()
	c, err := r.js.Consumer(r.t.Context(), stream, durable)
	if err != nil {
		r.t.Fatal(err)
	}
	for handed := 0; handed < times; {
		batch, err := c.Fetch(16, jetstream.FetchMaxWait(100*time.Millisecond))
		if err != nil {
			r.t.Fatal(err)
		}
		for m := range batch.Messages() {
			handed++
			if err := m.NakWithDelay(time.Millisecond); err != nil {
				r.t.Fatal(err)
			}
		}
		if r.t.Context().Err() != nil {
			r.t.Fatal("over")
		}
	}
}

// busy has finX ask the next caller to come back in three seconds, which is longer
// than an event may wait with its consumer here.
func (r *rig) busy(call string) {
	r.t.Helper()
	r.fault(finxtest.Fault{Call: call, Times: 1, Status: http.StatusLocked, Code: 1008, RetryAfter: "3"})
}

// heldUntil waits for cond, or for the end of the test's context.
func heldUntil(r *rig, what string, cond func() bool) {
	r.t.Helper()
	limit := time.Now().Add(within)
	for !cond() {
		if r.t.Context().Err() != nil || time.Now().After(limit) {
			r.t.Fatalf("no %s", what)
		}
		pause(r.t, 20*time.Millisecond)
	}
}

// connectorOptions make a connector come to all its acts within seconds.
func connectorOptions() options {
	return options{
		sandbox: finxtest.Options{RefreshLifetime: 20 * time.Second, Shape: finxtest.Shape{PerAccount: []int{20, 3}, HugeBytes: []int{600 << 10}}},
		env: map[string]string{
			"ESCROW_KEY": escrowKey, "BREAKER_FAILURES": "2", "BREAKER_WAIT_MAX": "1s", "PARK_AFTER": "1s", "FINX_RETRY_BUDGET": "0s", "RETRY_DELAY_MAX": "4s", "SYNC_INTERVAL": "5s", "DRAIN_TIMEOUT": "1s",
			"FINX_REFRESH_LIFETIME": "20s", "FINX_KEEPALIVE_LEAD": "17s", "FINX_EXPIRING_NOTICE": "1s",
		},
	}
}
