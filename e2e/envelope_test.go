package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
)

const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// TestEveryEnvelopeAndFurtherTokens takes the same job through the three
// envelopes, on subjects that go on behind the names of the contract.
func TestEveryEnvelopeAndFurtherTokens(t *testing.T) {
	r := newRig(t, options{memory: true})
	r.start()
	connect := r.structured(events.TypeConnectRequested, "structured-1", connectData())
	binary := func(typ, id string) []string {
		return []string{
			"ce-specversion", "1.0", "ce-id", id, "ce-source", "/upstream", "ce-type", typ, "Content-Type", "application/json",
			"ce-traceparent", trace,
		}
	}
	for name, c := range map[string]struct {
		id      string
		body    []byte
		headers []string
	}{
		"structured by content type": {"structured-1", connect, []string{"Content-Type", "application/cloudevents+json; charset=utf-8", "traceparent", trace}},
		"structured by its look":     {"structured-2", r.structured(events.TypeConnectRequested, "structured-2", connectData()), []string{"traceparent", trace}},
		"binary":                     {"binary-1", encode(t, connectData()), binary(events.TypeConnectRequested, "binary-1")},
		"bare with an id":            {"bare-1", encode(t, connectData()), []string{events.HeaderMsgID, "bare-1", "traceparent", trace}},
	} {
		t.Run(name, func(t *testing.T) {
			r := r.at(t)
			r.publish(events.TypeConnectRequested+".eu.42", c.body, c.headers...)
			link := r.link(c.id)
			if link.TraceParent != trace || header(link.Message, events.HeaderTraceParent) != trace {
				t.Errorf("the trace ends: %q", link.TraceParent)
			}
			back := r.approve(link.Location)
			r.publish(events.TypeCallbackReceived+".eu", encode(t, callbackData(back)), binary(events.TypeCallbackReceived, "callback of "+c.id)...)
			completed := r.completed(link.ConnectionID, 1)
			for _, e := range append(r.parts(completed), completed) {
				if e.TraceParent != trace || e.Message.Subject != e.Type {
					t.Errorf("%s on %s with the trace %q", e.Type, e.Message.Subject, e.TraceParent)
				}
			}
			established := r.seen.of(events.TypeConnectionEstablished, link.ConnectionID)
			if len(established) != 1 || established[0].CausationID != "callback of "+c.id {
				t.Errorf("established %d times, by %q", len(established), last(established).CausationID)
			}
		})
	}
	stream, seq := r.publish(events.TypeCallbackReceived+".eu", []byte(`{"success":true}`))
	if letter := r.letter(stream, seq); letter.Subject != "dlq."+events.TypeCallbackReceived+".eu" {
		t.Errorf("the dead letter lies on %s", letter.Subject)
	}
}

// TestASealedVaultBurnsNoCode lets a callback come while Vault is sealed.
func TestASealedVaultBurnsNoCode(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{vault: vaulttest.StartOwn(t, "inmem")})
	r.start()
	link := r.connect("sealed@example.com")
	r.vault.Seal(t)
	r.callback(r.approve(link.Location))
	natstest.Eventually(t, within, func() bool { return r.refused() >= 2 }, "the callback meets the sealed Vault, and again")
	if n := r.sandbox.Stats().Total("token.exchange"); n != 0 {
		t.Errorf("%d codes were sent that could not have been stored", n)
	}
	r.vault.Unseal(t)
	r.completed(link.ConnectionID, 1)
	if s := r.sandbox.Stats(); s.CodesExchanged != 1 || s.Total("token.exchange") != 1 {
		t.Errorf("%d codes exchanged in %d calls", s.CodesExchanged, s.Total("token.exchange"))
	}
}

// refused is how many calls Vault refused because it was sealed.
func (r *rig) refused() (n int) {
	r.safe.mu.Lock()
	defer r.safe.mu.Unlock()
	for _, p := range r.safe.seen {
		if p.Status == 503 && strings.Contains(p.Path, "/finx/connections/") {
			n++
		}
	}
	return n
}

// TestABrokerThatDiesInAFetch kills the broker between two parts.
func TestABrokerThatDiesInAFetch(t *testing.T) {
	t.Parallel()
	nats := natstest.ExternalProcess(t)
	r := newRig(t, options{
		memory: true, broker: func(testing.TB) string { return nats.URL() },
		sandbox: finxtest.Options{Shape: finxtest.Shape{Accounts: 1, Transactions: 3000}},
		env:     map[string]string{"PAGE_SIZE": "100", "CHUNK_BYTES": "64KiB"},
	})
	r.fault(finxtest.Fault{Call: "transactions", Delay: finxtest.Duration(20 * time.Millisecond)})
	r.start()
	link := r.connect("broker@example.com")
	r.callback(r.approve(link.Location))
	for _, n := range []int{3, 12} {
		await(r, within, fmt.Sprint(n, " parts"), func() (bool, bool) {
			return true, r.seen.counted(r.codec, events.TypeTransactionsFetched) >= n
		})
		nats.Kill()
		nats.Start()
	}
	completed := r.completed(link.ConnectionID, 1)
	if string(completed.Transactions) != "3000" {
		t.Errorf("%s transactions", completed.Transactions)
	}
	natstest.Eventually(t, within, func() bool {
		return len(distinct(r.seen.of(events.TypeTransactionsFetched, ""))) == len(completed.EventIDs)
	}, "every part is there and no other")
	r.parts(completed)
}
