package publisher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func meta() FetchMeta {
	return FetchMeta{
		Cause:        events.Cause{ID: "sync-1", TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		ConnectionID: connectionID, UserID: userID, FetchID: events.UUIDv5("fetch", "1"), Trigger: events.TriggerSchedule,
	}
}

func head(id string) AccountHead {
	return AccountHead{
		ID: id, Raw: []byte(`{"account_id":"` + id + `","balance": 1.10 ,"name":"Gïro"}`),
		Window: events.Window{Since: "2026-01-01", Until: "2026-02-01"}, SyncedAt: "2026-02-01T08:00:00Z",
	}
}

// transaction returns an object whose spelling no encoder would choose.
func transaction(i, size int) []byte {
	b := fmt.Appendf(nil, `{ "transaction_id":"t%d", "amount":  -%d.50, "text":"\u00e9é/<&`, i, i)
	if pad := size - len(b) - 2; pad > 0 {
		b = append(b, bytes.Repeat([]byte{'x'}, pad)...)
	}
	return append(b, `"}`...)
}

type part struct {
	msg  *jetstream.RawStreamMsg
	size int
	ID   string `json:"id"`
	Data struct {
		Account      json.RawMessage         `json:"account"`
		Part         int                     `json:"part"`
		FetchID      string                  `json:"fetch_id"`
		Window       events.Window           `json:"window"`
		Oversize     []events.OversizeObject `json:"oversize"`
		Transactions []json.RawMessage       `json:"transactions"`
	} `json:"data"`
}

func parts(t *testing.T, s jetstream.Stream) []part {
	t.Helper()
	var all []part
	for seq := range stored(t, s) {
		msg, err := s.GetMsg(t.Context(), seq+1)
		if err != nil {
			t.Fatal(err)
		}
		p := part{msg: msg, size: len(msg.Data)}
		if err := json.Unmarshal(msg.Data, &p); err != nil {
			t.Fatalf("%v in %s", err, msg.Data)
		}
		for name, values := range msg.Header {
			p.size += len(name) + len(values[0]) + 4
		}
		all = append(all, p)
	}
	return all
}

func fetch(t *testing.T, w *FetchWriter, id string, txs [][]byte) AccountResult {
	t.Helper()
	w.StartAccount(head(id))
	for _, tx := range txs {
		if err := w.Add(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
		clear(tx) // the caller reuses its buffer
	}
	result, err := w.FinishAccount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// generate makes transactions of random sizes, some above the chunk.
func generate(n int, seed uint64, largest int) [][]byte {
	r := rand.New(rand.NewPCG(seed, 1))
	txs := make([][]byte, n)
	for i := range txs {
		size := 100 + r.IntN(900)
		if r.IntN(50) == 0 {
			size = r.IntN(largest)
		}
		txs[i] = transaction(i, size)
	}
	return txs
}

// TestPartsFitAndAreWhole publishes to a broker with a small max_payload and
// puts the account together again from what is stored.
func TestPartsFitAndAreWhole(t *testing.T) {
	for name, tc := range map[string]struct {
		maxPayload     int32
		chunk, largest int
		wantMost       int // bytes of a message
	}{
		"max_payload is the bound":          {64 << 10, 0, 20 << 10, 64<<10 - headroom},
		"chunk is the bound":                {64 << 10, 20 << 10, 16 << 10, 20 << 10},
		"some transactions above the chunk": {64 << 10, 8 << 10, 50 << 10, 8 << 10},
		"chunk below one account":           {64 << 10, 100, 6 << 10, leastRoom + 4<<10},
	} {
		t.Run(name, func(t *testing.T) {
			js := natstest.JetStream(t, natstest.Start(t, natstest.MaxPayload(tc.maxPayload)).URL())
			s := createStream(t, js, eventsStream())
			objects := objectStore(t, js)
			w := newPublisher(t, Config{JS: js}).NewFetchWriter(meta(), tc.chunk)
			want := generate(600, 7, tc.largest)
			result := fetch(t, w, "a", generate(600, 7, tc.largest))
			all := parts(t, s)
			if result.Parts != len(all) || result.Transactions != len(want) || result.AccountID != "a" || result.SyncedAt != head("a").SyncedAt {
				t.Errorf("result %+v, stored %d", result, len(all))
			}
			var got, ids []string
			for i, p := range all {
				if p.Data.Part != i {
					t.Errorf("part %d is numbered %d", i, p.Data.Part)
				}
				if p.size > tc.wantMost {
					t.Errorf("part %d has %d bytes, want at most %d", i, p.size, tc.wantMost)
				}
				if !bytes.Equal(p.Data.Account, head("a").Raw) || p.Data.Window != head("a").Window || p.Data.FetchID != meta().FetchID {
					t.Errorf("part %d: %+v", i, p.Data)
				}
				got = append(got, spliced(t, objects, p)...)
				ids = append(ids, p.ID)
			}
			if !slices.Equal(ids, w.Close()) {
				t.Error("EventIDs are not the ids of what is stored")
			}
			if len(got) != len(want) {
				t.Fatalf("%d transactions stored, want %d", len(got), len(want))
			}
			for i := range want {
				if got[i] != string(want[i]) {
					t.Fatalf("transaction %d is %s, want %s", i, got[i], want[i])
				}
			}
			if tc.chunk >= 8<<10 && len(all) < 5 {
				t.Errorf("only %d parts: the test shows nothing", len(all))
			}
		})
	}
}

// TestPartsAreFull: cutting must not waste the room it has.
func TestPartsAreFull(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	s := createStream(t, js, eventsStream())
	w := newPublisher(t, Config{JS: js}).NewFetchWriter(meta(), 0)
	txs := make([][]byte, 3000)
	for i := range txs {
		txs[i] = transaction(i, 500)
	}
	w.StartAccount(head("a"))
	for _, tx := range txs {
		if err := w.Add(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
	// One part, not yet full, however many there were.
	if held := w.p.memory.plain.Load(); held != int64(len(w.held.blocks)*heldBlock) || held > DefaultChunkBytes {
		t.Errorf("%d bytes held in %d blocks", held, len(w.held.blocks))
	}
	if _, err := w.FinishAccount(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, p := range parts(t, s) {
		last := i == len(w.Close())-1
		if p.size > DefaultChunkBytes || (!last && p.size < DefaultChunkBytes-4<<10) {
			t.Errorf("part %d has %d bytes of %d", i, p.size, DefaultChunkBytes)
		}
	}
}

func TestSecondRunIsADuplicateWhateverTheTrace(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	s := createStream(t, js, eventsStream())
	p := newPublisher(t, Config{JS: js})
	run := func(m FetchMeta) []string {
		w := p.NewFetchWriter(m, 16<<10)
		fetch(t, w, "a", generate(300, 3, 4<<10))
		fetch(t, w, "b", nil)
		return w.Close()
	}
	first := run(meta())
	n := stored(t, s)
	traced := meta()
	traced.Cause.TraceState = "vendor=" + strings.Repeat("x", 200)
	for _, m := range []FetchMeta{meta(), traced} {
		if again := run(m); !slices.Equal(again, first) {
			t.Error("the second run has other ids")
		}
	}
	if got := stored(t, s); got != n || int(n) != len(first) {
		t.Errorf("%d stored, %d after the first run, %d ids", got, n, len(first))
	}
}

func TestChangedContentIsAnotherEvent(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	createStream(t, js, eventsStream())
	p := newPublisher(t, Config{JS: js})
	one, two := p.NewFetchWriter(meta(), 0), p.NewFetchWriter(meta(), 0)
	fetch(t, one, "a", [][]byte{[]byte(`{"amount":1.0}`)})
	fetch(t, two, "a", [][]byte{[]byte(`{"amount":1.00}`)})
	if slices.Equal(one.Close(), two.Close()) {
		t.Error("another amount has the same id")
	}
}

func TestEmptyAccountGetsOnePart(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	s := createStream(t, js, eventsStream())
	w := newPublisher(t, Config{JS: js}).NewFetchWriter(meta(), 0)
	if r := fetch(t, w, "a", nil); r.Parts != 1 || r.Transactions != 0 {
		t.Errorf("%+v", r)
	}
	if r := fetch(t, w, "b", [][]byte{transaction(1, 0)}); r.Parts != 1 || r.Transactions != 1 {
		t.Errorf("%+v", r)
	}
	all := parts(t, s)
	if len(all) != 2 || all[0].Data.Part != 0 || all[1].Data.Part != 0 || len(w.Close()) != 2 {
		t.Fatalf("%d parts", len(all))
	}
	if !bytes.Contains(all[0].msg.Data, []byte(`"transactions":[]`)) {
		t.Errorf("no empty list in %s", all[0].msg.Data)
	}
}

func TestAnAccountThatFitsIntoNoMessageIsGivenUp(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t, natstest.MaxPayload(32<<10)).URL())
	s := createStream(t, js, eventsStream())
	p := newPublisher(t, Config{JS: js})
	check := func(what string, err error) {
		if !errors.Is(err, ErrOversize) || fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Oversize {
			t.Errorf("%s: %v", what, err)
		}
	}
	w := p.NewFetchWriter(meta(), 0)
	large := head("a")
	large.Raw = transaction(1, 33<<10)
	w.StartAccount(large)
	check("account with a transaction", w.Add(t.Context(), transaction(1, 10)))
	_, err := w.FinishAccount(t.Context())
	check("account without transactions", err)
	if n := stored(t, s); n != 0 {
		t.Errorf("%d stored", n)
	}
}
