package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// replay publishes every callback of the day twice under ids of their own, as
// it was and in the other form, and looks for what came of it.
func (d *day) replay(when string) {
	d.t.Helper()
	d.settled()
	before := d.books()
	again := d.callbacks()[:d.sent]
	d.dice.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
	for _, m := range again {
		for _, body := range [][]byte{m.Data, d.otherForm(m.Data)} {
			headers := []string{events.HeaderMsgID, events.NewUUID()}
			if isStructured(body) {
				headers = append(headers, events.HeaderContentType, events.ContentTypeStructured)
			}
			d.publish(events.TypeCallbackReceived, body, headers...)
		}
	}
	d.settled()
	after := d.books()
	if after.exchanges != before.exchanges || after.reused != before.reused {
		d.t.Errorf("%s: %d codes were sent to finX, %d of them used", when, after.exchanges-before.exchanges, after.reused-before.reused)
	}
	for name, was := range before.records {
		if is := after.records[name]; is != was {
			d.t.Errorf("%s: the record %s is another: %s", when, name, difference(was, is))
		}
	}
	for id, was := range before.secrets {
		if is := after.secrets[id]; is != was {
			d.t.Errorf("%s: the secret of %s was written: version %s, was %s", when, id, is, was)
		}
	}
	if len(after.records) != len(before.records) || len(after.secrets) != len(before.secrets) {
		d.t.Errorf("%s: %d records and %d secrets, there were %d and %d", when, len(after.records), len(after.secrets), len(before.records), len(before.secrets))
	}
	for id, what := range after.told {
		if before.told[id] == "" {
			d.t.Errorf("%s: news under an id that was not there: %s", when, what)
		}
	}
	for _, letter := range d.seen.lettersSoFar()[before.letters:] {
		if header(letter, consumer.HeaderReason) != string(fault.Rejected) {
			d.t.Errorf("%s: dead letter %s: %s", when, header(letter, consumer.HeaderReason), header(letter, consumer.HeaderError))
		}
	}
	if n, want := after.letters-before.letters, 2*guestsOfADay()["injected"]; n != want {
		d.t.Errorf("%s: %d dead letters, want those of the injected codes, %d", when, n, want)
	}
	d.t.Logf("%s: %d callbacks replayed", when, 2*len(again))
}

// books are what a replay must leave as it is.
type books struct {
	exchanges, reused int
	records           map[string]string // of connections and states
	secrets           map[string]string // version in Vault, by connection
	told              map[string]string // outputs and requests for a fetch, by id
	letters           int
}

func (d *day) books() books {
	d.t.Helper()
	b := books{
		exchanges: len(d.exchanged()), reused: d.sandbox.Stats().CodesReused,
		records: map[string]string{}, secrets: map[string]string{}, told: map[string]string{},
		letters: len(d.seen.lettersSoFar()),
	}
	kv, err := d.js.KeyValue(d.t.Context(), "finx_connections")
	if err != nil {
		d.t.Fatal(err)
	}
	keys, err := kv.Keys(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	for _, key := range keys {
		entry, err := kv.Get(d.t.Context(), key)
		if err != nil {
			d.t.Fatal(err)
		}
		b.records[key] = string(entry.Value())
		if id, ok := strings.CutPrefix(key, "connection."); ok {
			if status, answer, err := d.vault.Try(d.t.Context(), d.vault.Token, http.MethodGet, d.mount+"/metadata/finx/connections/"+id, nil); err != nil {
				d.t.Fatal(err)
			} else if data, ok := answer["data"].(map[string]any); ok && status == http.StatusOK {
				b.secrets[id] = fmt.Sprint(data["current_version"])
			}
		}
	}
	for _, m := range d.seen.messages() {
		if typ, _ := d.codec.TypeOf(m.Subject); m.Stream == events.StreamEvents || typ == events.TypeSyncRequested {
			b.told[header(m, events.HeaderMsgID)] = m.Subject + " " + string(m.Data)
		}
	}
	return b
}

// settled waits until nothing is under way and everything has been seen.
func (d *day) settled() {
	d.t.Helper()
	d.idle(events.StreamCallbacks, "finx-callbacks")
	d.idle(events.StreamRequests, "finx-syncs")
	for _, name := range []string{events.StreamCallbacks, events.StreamRequests, events.StreamEvents, events.StreamDLQ} {
		stream, err := d.js.Stream(d.t.Context(), name)
		if err != nil {
			d.t.Fatal(err)
		}
		last := stream.CachedInfo().State.LastSeq
		natstest.Eventually(d.t, within, func() bool {
			return slices.ContainsFunc(d.seen.messages(), func(m events.Message) bool { return m.Stream == name && m.Sequence == last }) || last == 0
		}, name+" read to its end")
	}
}

// callbacks are those on the stream, in their order.
func (d *day) callbacks() []events.Message {
	return slices.DeleteFunc(d.seen.messages(), func(m events.Message) bool { return m.Stream != events.StreamCallbacks })
}

// exchanged are the codes that were sent to finX, one entry a call.
func (d *day) exchanged() []string {
	d.bank.mu.Lock()
	defer d.bank.mu.Unlock()
	var codes []string
	for _, p := range d.bank.seen {
		if value := spent(p); value != "" && !p.Answered && strings.Contains(string(p.Body), `"authorization_code"`) {
			codes = append(codes, value)
		}
	}
	return codes
}

// otherForm is the same callback as an event of its own, or without its envelope.
func (d *day) otherForm(body []byte) []byte {
	d.t.Helper()
	var in map[string]json.RawMessage
	if err := json.Unmarshal(body, &in); err != nil {
		d.t.Fatal(err)
	}
	if data, ok := in["data"]; ok {
		return data
	}
	return d.structured(events.TypeCallbackReceived, events.NewUUID(), maps.Clone(in))
}

// difference is where two texts part.
func difference(a, b string) string {
	at := 0
	for at < min(len(a), len(b)) && a[at] == b[at] {
		at++
	}
	from := max(0, at-40)
	return a[from:min(len(a), at+40)] + " | " + b[from:min(len(b), at+40)]
}
