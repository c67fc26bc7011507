package publisher

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// DefaultChunkBytes is the size of a part when the caller names none.
const DefaultChunkBytes = 512 << 10

const (
	// headroom stays free below the broker's max_payload.
	headroom = 1 << 10
	// partSlack pays for the part number and the fraction of the time.
	partSlack = 256
	// traceSlack is what the trace may take before it counts: it differs from
	// run to run and must not move the boundaries between parts.
	traceSlack = 400
	// leastRoom is what transactions have in a part although the account object
	// alone fills the chunk. Without it all of them would go to the object store.
	leastRoom = 4 << 10
)

// FetchMeta says what a fetch belongs to.
type FetchMeta struct {
	Cause                                  events.Cause
	ConnectionID, UserID, FetchID, Trigger string
}

// AccountHead is what every part of one account repeats.
type AccountHead struct {
	ID       string
	Raw      []byte // finX's object as received; kept until FinishAccount
	Window   events.Window
	SyncedAt string
}

// AccountResult is what became of one account.
type AccountResult = events.AccountFetched

// FetchWriter turns the transactions of a fetch into transactions.fetched events
// of bounded size and publishes each as it fills, so that memory does not grow
// with the account. Boundaries depend on the content and the sizes only: the same
// fetch again makes the same events under the same ids.
//
// It is for one goroutine. After an error it is of no further use.
type FetchWriter struct {
	p     *Publisher
	meta  FetchMeta
	chunk int
	ids   []string

	head  AccountHead
	buf   *buffers
	used  int // bytes of a message that are not transactions
	limit int // bytes of transactions, or references to them, in a part
	part  int
	large []events.OversizeObject // of the part being filled
	count int                     // transactions in the part being filled, large ones included
	total int                     // transactions of the account
}

// buffers are what an account's parts are built in, one after the other.
// Publishing is synchronous, so a buffer is free again when it returns.
type buffers struct{ transactions, data, body []byte }

// NewFetchWriter returns a writer whose messages, with envelope and headers, are
// at most chunkBytes, and never above the broker's max_payload. Zero means
// DefaultChunkBytes. A single transaction that fits into no part of that size goes
// to the object store, and its part refers to it. Only an account object that
// leaves less than 4 KiB of chunkBytes makes parts larger than that.
func (p *Publisher) NewFetchWriter(m FetchMeta, chunkBytes int) *FetchWriter {
	if chunkBytes <= 0 {
		chunkBytes = DefaultChunkBytes
	}
	return &FetchWriter{p: p, meta: m, chunk: chunkBytes}
}

// StartAccount begins the parts of an account.
func (w *FetchWriter) StartAccount(a AccountHead) {
	w.head, w.part, w.count, w.total, w.large = a, 0, 0, 0, w.large[:0]
	if w.buf == nil {
		w.buf = w.p.takeBuffers()
	}
	w.buf.transactions = w.buf.transactions[:0]
	w.used = w.overhead()
	whole := int(w.p.maxPayload()) - headroom
	w.limit = min(max(w.chunk-w.used, leastRoom), whole-w.used)
}

// overhead is the size of a message of this account without transactions. It is
// measured on a message that differs from run to run in nothing.
func (w *FetchWriter) overhead() int {
	c := w.meta.Cause
	trace := max(traceSlack, len(c.TraceParent)+len(c.TraceState))
	c.TraceParent, c.TraceState = "", ""
	probe := events.NewTransactionsFetchedIn(w.buf.data, c, w.fetched())
	probe.Time = time.Time{}
	w.buf.data = probe.Data[:0]
	w.buf.body = probe.AppendJSON(w.buf.body[:0])
	n := len(w.buf.body) + partSlack + 3*trace // once in the header, once in the body, where a quote takes two bytes
	for name, values := range events.HeadersFor(probe) {
		n += len(name) + len(values[0]) + len(": \r\n")
	}
	return n + len(jetstream.ExpectedStreamHeader) + len(w.p.cfg.EventsStream) + len(": \r\nNATS/1.0\r\n\r\n")
}

// Add appends a transaction to the account, byte for byte, and publishes the
// part before it when it does not fit any more. raw is free again when it
// returns. One that is too large for a part is in the object store when Add
// returns, so that no event refers to what is not there.
func (w *FetchWriter) Add(ctx context.Context, raw []byte) error {
	large := len(raw) > w.limit
	size := 1 + len(raw)
	if large {
		size = events.MaxOversizeBytes
	}
	if w.count > 0 && w.filled()+size > w.limit {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	if large {
		if err := w.addLarge(ctx, raw); err != nil {
			return err
		}
	} else {
		if len(w.buf.transactions) > 0 {
			w.buf.transactions = append(w.buf.transactions, ',')
		}
		w.buf.transactions = append(w.buf.transactions, raw...)
	}
	w.count++
	w.total++
	return nil
}

// filled is how much of limit the part being filled has taken.
func (w *FetchWriter) filled() int {
	return len(w.buf.transactions) + len(w.large)*events.MaxOversizeBytes
}

func (w *FetchWriter) addLarge(ctx context.Context, raw []byte) error {
	if w.limit < events.MaxOversizeBytes {
		return w.tooLarge()
	}
	ref, err := w.p.storeObject(ctx, raw, w.count)
	if err != nil {
		return fmt.Errorf("publisher: storing a transaction of account %s: %w", w.head.ID, err)
	}
	w.large = append(w.large, ref)
	return nil
}

// FinishAccount publishes what is left. An account without transactions gets one
// part with an empty list, because it carries the balance.
func (w *FetchWriter) FinishAccount(ctx context.Context) (AccountResult, error) {
	if w.count > 0 || w.part == 0 {
		if err := w.flush(ctx); err != nil {
			return AccountResult{}, err
		}
	}
	w.p.buffers.Put(w.buf)
	w.buf = nil
	return AccountResult{AccountID: w.head.ID, Parts: w.part, Transactions: w.total, SyncedAt: w.head.SyncedAt}, nil
}

// EventIDs returns the ids of all parts stored so far, in order.
func (w *FetchWriter) EventIDs() []string { return slices.Clone(w.ids) }

func (w *FetchWriter) flush(ctx context.Context) error {
	if w.limit < 0 {
		return w.tooLarge()
	}
	b := w.buf
	need := w.filled() + w.used
	b.data = slices.Grow(b.data[:0], need)
	o := events.NewTransactionsFetchedIn(b.data, w.meta.Cause, w.fetched())
	b.data = o.Data
	b.body = o.AppendJSON(slices.Grow(b.body[:0], o.Size()))
	if _, err := w.p.output(ctx, o, b.body); err != nil {
		return fmt.Errorf("publisher: storing part %d of account %s: %w", w.part, w.head.ID, err)
	}
	w.ids = append(w.ids, o.ID)
	w.part++
	w.count = 0
	w.large = w.large[:0]
	b.transactions = b.transactions[:0]
	return nil
}

func (w *FetchWriter) fetched() events.TransactionsFetched {
	return events.TransactionsFetched{
		ConnectionID: w.meta.ConnectionID, UserID: w.meta.UserID, FetchID: w.meta.FetchID, Trigger: w.meta.Trigger,
		AccountID: w.head.ID, Account: w.head.Raw, Part: w.part, Window: w.head.Window, SyncedAt: w.head.SyncedAt,
		Oversize: w.large, Transactions: w.buf.transactions,
	}
}

// tooLarge is the error of an account object that leaves no room in a message.
func (w *FetchWriter) tooLarge() error {
	err := fmt.Errorf("publisher: cutting account %s: an account object of %d bytes: %w", w.head.ID, len(w.head.Raw), ErrOversize)
	return fault.Permanent(fault.Oversize, &failure{reason: reasonOversize, err: err})
}

func (p *Publisher) takeBuffers() *buffers {
	if b, ok := p.buffers.Get().(*buffers); ok {
		return b
	}
	return &buffers{}
}

func (p *Publisher) maxPayload() int64 {
	if n := p.cfg.MaxPayload(); n > 0 {
		return n
	}
	return defaultMaxPayload
}
