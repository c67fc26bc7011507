package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
)

// stream is the digest of one account's objects in order, joined by commas, and
// their number.
type stream struct {
	sum   hash.Hash
	count int
	parts int
}

func newStream() *stream { return &stream{sum: sha256.New()} }

func (s *stream) take(objects []byte) {
	if len(objects) == 0 {
		return
	}
	if s.count > 0 {
		_, _ = s.sum.Write([]byte{','})
	}
	_, _ = s.sum.Write(objects)
	s.count += countObjects(objects)
}

// countObjects counts objects joined by commas, however they are spelled inside.
func countObjects(b []byte) (n int) {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			if depth++; depth == 1 {
				n++
			}
		case c == '}':
			depth--
		}
	}
	return n
}

func (s *stream) String() string { return hex.EncodeToString(s.sum.Sum(nil)) }

// TestLongHistoryArrivesWhole fetches 200,000 transactions with the real
// programs and compares every byte with what the sandbox serves.
func TestLongHistoryArrivesWhole(t *testing.T) {
	testHistory(t, 200_000, 512<<10, map[string]string{})
}

// TestHistoryUnderOtherSubjects has the same with names of its own and small parts.
func TestHistoryUnderOtherSubjects(t *testing.T) {
	testHistory(t, 12_000, 64<<10, map[string]string{
		"SUBJECT_PREFIX": "acme.prod", "SUBJECT_PER_CONNECTION": "true", "CHUNK_BYTES": "64KiB", "PAGE_SIZE": "777",
	})
}

func testHistory(t *testing.T, transactions, chunk int, env map[string]string) {
	const user, pending = "history@example.com", 2
	bank := startSandbox(t, "--accounts", "4", "--empty-accounts", "1", "--transactions", strconv.Itoa(transactions), "--pending", strconv.Itoa(pending))
	env["FINX_BASE_URL"] = bank.base // past the gate: a history is much to keep
	r := newRig(t, options{env: env, blind: true})
	r.serve()
	begun := time.Now()
	id := r.send(events.TypeConnectRequested, map[string]any{"user_id": user, "redirect_uri": redirectURI})
	d := newDownstream(r, chunk)
	link := d.until(events.TypeWidgetLinkCreated)
	if link.CausationID != id {
		t.Fatal("another link")
	}
	r.callback(bank.leave(link.Location, "approve"))
	completed := d.until(events.TypeFetchCompleted)
	t.Logf("%d transactions in %d parts in %s, largest message %d bytes",
		transactions, len(completed.EventIDs), time.Since(begun).Round(time.Millisecond), d.largest)

	if !slices.Equal(completed.EventIDs, d.ids) {
		t.Errorf("%s names %d parts, %d are stored; they are not the same", events.TypeFetchCompleted, len(completed.EventIDs), len(d.ids))
	}
	if want := transactions + 3*pending; string(completed.Transactions) != strconv.Itoa(want) {
		t.Errorf("%s transactions, want %d", completed.Transactions, want)
	}
	if len(completed.Accounts) != 4 {
		t.Fatalf("%d accounts", len(completed.Accounts))
	}
	token := connected(t, bank.base, user, func(location string) *url.URL { return bank.leave(location, "approve") })
	empty := 0
	for _, account := range completed.Accounts {
		got, want := d.accounts[account.AccountID], newStream()
		everything(t, bank.base, token, account.AccountID, d.windows[account.AccountID], want.take)
		if got == nil || got.String() != want.String() || got.count != want.count {
			t.Errorf("account %s is not byte for byte what the sandbox serves (%d transactions)", account.AccountID, want.count)
			continue
		}
		if got.count != account.Transactions || got.parts != account.Parts {
			t.Errorf("account %s: %d in %d parts, said are %d in %d", account.AccountID, got.count, got.parts, account.Transactions, account.Parts)
		}
		if got.count == 0 {
			empty++
			if got.parts != 1 {
				t.Errorf("the empty account has %d parts, want one", got.parts)
			}
		}
	}
	if empty != 1 {
		t.Errorf("%d empty accounts, want one", empty)
	}
}

// downstream reads the events one by one and keeps nothing but digests.
type downstream struct {
	r        *rig
	msgs     jetstream.MessagesContext
	chunk    int
	largest  int
	bytes    int64 // of transactions
	ids      []string
	accounts map[string]*stream
	windows  map[string]events.Window
}

func newDownstream(r *rig, chunk int) *downstream {
	r.t.Helper()
	cons, err := r.js.OrderedConsumer(r.t.Context(), events.StreamEvents, jetstream.OrderedConsumerConfig{})
	if err != nil {
		r.t.Fatal(err)
	}
	msgs, err := cons.Messages()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(msgs.Stop)
	return &downstream{r: r, msgs: msgs, chunk: chunk, accounts: map[string]*stream{}, windows: map[string]events.Window{}}
}

// until reads on to the first event of a type. One that says that nothing will
// come of it ends the test.
func (d *downstream) until(typ string) event {
	d.r.t.Helper()
	ctx, cancel := context.WithTimeout(d.r.t.Context(), 3*time.Minute)
	defer cancel()
	for {
		msg, err := d.msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			d.r.t.Fatalf("waiting for %s: %v", typ, err)
		}
		got, _ := d.r.codec.TypeOf(msg.Subject())
		d.size(msg)
		if got == events.TypeTransactionsFetched {
			d.part(msg)
		}
		if got == events.TypeFetchFailed || got == events.TypeConnectionFailed {
			d.r.t.Fatalf("%s: %s", got, msg.Data())
		}
		if got != typ {
			continue
		}
		e := event{}
		m := events.Message{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()}
		if e.Output, err = events.ParseOutput(m); err == nil {
			err = json.Unmarshal(e.Data, &e.payload)
		}
		if err != nil {
			d.r.t.Fatal(err)
		}
		d.subject(msg.Subject(), e)
		return e
	}
}

// subject holds the subject of an event to the settings.
func (d *downstream) subject(subject string, e event) {
	d.r.t.Helper()
	want := e.Type
	if prefix := d.r.env["SUBJECT_PREFIX"]; prefix != "" {
		want = prefix + "." + want
	}
	if d.r.env["SUBJECT_PER_CONNECTION"] == "true" {
		want += "." + e.ConnectionID
	}
	if subject != want {
		d.r.t.Errorf("%s is on %s, want %s", e.Type, subject, want)
	}
}

// size holds a message, headers included, to the limits.
func (d *downstream) size(msg jetstream.Msg) {
	d.r.t.Helper()
	n := len("NATS/1.0\r\n\r\n") + len(msg.Data())
	for name, values := range msg.Headers() {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	d.largest = max(d.largest, n)
	if n > d.chunk || int64(n) >= d.r.nc.MaxPayload() {
		d.r.t.Errorf("a message of %d bytes on %s", n, msg.Subject())
	}
}

// part takes the objects out of a part without reading them: they are the last
// member of the event.
func (d *downstream) part(msg jetstream.Msg) {
	d.r.t.Helper()
	data := msg.Data()
	head, objects, ok := bytes.Cut(data, []byte(`"transactions":[`))
	objects, closed := bytes.CutSuffix(objects, []byte(`]}}`))
	var e struct {
		ID   string `json:"id"`
		Data struct {
			Part    int           `json:"part"`
			Window  events.Window `json:"window"`
			Account struct {
				AccountID string `json:"account_id"`
			} `json:"account"`
		} `json:"data"`
	}
	whole := append(slices.Clone(head), `"transactions":[]}}`...)
	if err := json.Unmarshal(whole, &e); err != nil || !ok || !closed {
		d.r.t.Fatalf("a part cannot be read: %v", err)
	}
	d.subject(msg.Subject(), event{Output: events.Output{Type: events.TypeTransactionsFetched, ConnectionID: connectionOf(msg)}})
	account := d.accounts[e.Data.Account.AccountID]
	if account == nil {
		account = newStream()
		d.accounts[e.Data.Account.AccountID], d.windows[e.Data.Account.AccountID] = account, e.Data.Window
		if !json.Valid(data) {
			d.r.t.Error("the first part is not JSON")
		}
	}
	if e.Data.Part != account.parts || msg.Headers().Get(events.HeaderMsgID) != e.ID {
		d.r.t.Errorf("part %d of account %s comes as number %d", e.Data.Part, e.Data.Account.AccountID, account.parts)
	}
	account.parts++
	account.take(objects)
	d.bytes += int64(len(objects))
	d.ids = append(d.ids, e.ID)
}

func connectionOf(msg jetstream.Msg) string { return msg.Headers().Get(events.HeaderConnectionID) }
