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
// It is for one goroutine. After an error it is of no further use; Close it
// whatever happened.
type FetchWriter struct {
	p     *Publisher
	meta  FetchMeta
	chunk int
	ids   []string

	head  AccountHead
	held  held // transactions of the part being filled, joined by commas
	used  int  // bytes of a message that are not transactions
	limit int  // bytes of transactions, or references to them, in a part
	part  int
	large []events.OversizeObject // of the part being filled
	count int                     // transactions in the part being filled, large ones included
	total int                     // transactions of the account
}

// NewFetchWriter returns a writer whose messages, with envelope and headers, are
// at most chunkBytes, and never above the broker's max_payload. Zero means
// DefaultChunkBytes. A single transaction that fits into no part of that size goes
// to the object store, and its part refers to it. Only an account object that
// leaves less than 4 KiB of chunkBytes makes parts larger than that.
func (p *Publisher) NewFetchWriter(m FetchMeta, chunkBytes int) *FetchWriter {
	if chunkBytes <= 0 {
		chunkBytes = DefaultChunkBytes
	}
	return &FetchWriter{p: p, meta: m, chunk: chunkBytes, held: held{m: p.memory}}
}

// StartAccount begins the parts of an account.
func (w *FetchWriter) StartAccount(a AccountHead) {
	w.head, w.part, w.count, w.total, w.large = a, 0, 0, 0, w.large[:0]
	w.held.reset()
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
	probe := events.NewTransactionsFetched(c, w.fetched(nil))
	probe.Time = time.Time{}
	n := len(probe.AppendJSON(make([]byte, 0, probe.Size()))) + partSlack + 3*trace // once in the header, once in the body, where a quote takes two bytes
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
		if w.held.size > 0 {
			w.held.add([]byte{','})
		}
		w.held.add(raw)
	}
	w.count++
	w.total++
	return nil
}

// AddPage adds the transactions of a page, as Add does. more says that others
// follow when finX has sent them: until then little memory is held.
func (w *FetchWriter) AddPage(ctx context.Context, transactions [][]byte, more bool) error {
	for _, raw := range transactions {
		if err := w.Add(ctx, raw); err != nil {
			return err
		}
	}
	if more {
		w.held.rest()
	}
	return nil
}

// filled is how much of limit the part being filled has taken.
func (w *FetchWriter) filled() int {
	return w.held.size + len(w.large)*events.MaxOversizeBytes
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
	return AccountResult{AccountID: w.head.ID, Parts: w.part, Transactions: w.total, SyncedAt: w.head.SyncedAt}, nil
}

// Close ends the fetch, whole or not, and returns the ids of all parts stored, in
// order. What is held of a part that was not published is forgotten. Closing again
// changes nothing.
func (w *FetchWriter) Close() (eventIDs []string) {
	w.held.reset()
	return slices.Clone(w.ids)
}

func (w *FetchWriter) flush(ctx context.Context) error {
	if w.limit < 0 {
		return w.tooLarge()
	}
	need := w.filled() + w.used
	m, err := w.p.memory.begin(ctx, need)
	if err != nil {
		return err
	}
	defer m.end()
	o, body, err := w.build(m, need)
	if err != nil {
		return err
	}
	if _, err := w.p.output(ctx, o, body); err != nil {
		return fmt.Errorf("publisher: storing part %d of account %s: %w", w.part, w.head.ID, err)
	}
	w.ids = append(w.ids, o.ID)
	w.part++
	w.count = 0
	w.large = w.large[:0]
	return nil
}

// build empties what is held into a message. Of all that it was built with, only
// the body is left; the output is good for its headers.
func (w *FetchWriter) build(m *message, need int) (o events.Output, body []byte, err error) {
	transactions, data := m.take(w.held.size), m.take(need+1024)
	if *transactions, err = w.held.appendTo((*transactions)[:0]); err != nil {
		return events.Output{}, nil, err
	}
	w.held.reset()
	o = events.NewTransactionsFetchedIn((*data)[:0], w.meta.Cause, w.fetched(*transactions))
	*data = o.Data
	b := m.take(o.Size())
	*b = o.AppendJSON((*b)[:0])
	o.Data = nil
	m.keep()
	return o, *b, nil
}

func (w *FetchWriter) fetched(transactions []byte) events.TransactionsFetched {
	return events.TransactionsFetched{
		ConnectionID: w.meta.ConnectionID, UserID: w.meta.UserID, FetchID: w.meta.FetchID, Trigger: w.meta.Trigger,
		AccountID: w.head.ID, Account: w.head.Raw, Part: w.part, Window: w.head.Window, SyncedAt: w.head.SyncedAt,
		Oversize: w.large, Transactions: transactions,
	}
}

// tooLarge is the error of an account object that leaves no room in a message.
func (w *FetchWriter) tooLarge() error {
	err := fmt.Errorf("publisher: cutting account %s: an account object of %d bytes: %w", w.head.ID, len(w.head.Raw), ErrOversize)
	return fault.Permanent(fault.Oversize, &failure{reason: reasonOversize, err: err})
}

func (p *Publisher) maxPayload() int64 {
	if n := p.cfg.MaxPayload(); n > 0 {
		return n
	}
	return defaultMaxPayload
}
