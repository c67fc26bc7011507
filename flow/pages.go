package flow

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// pageMemory is what the pages of all fetches of this process take together, give
// or take one of them: some fifteen of a usual size. A page stays for as long as it
// takes to publish it, so that is many hundred in a second.
const pageMemory = 12 << 20

// page is one page between being read and being published.
type page struct {
	history     *history
	items       [][]byte // in buf
	buf         *finx.PageBuffer
	first, last bool // of its account
}

// transfer is a fetch's way from finX to the broker. It reads here, where most of
// the time is spent, and publishes on a goroutine that lasts as long as a page does.
type transfer struct {
	*fetch
	parts Parts
	done  func(*history, events.AccountFetched) // is told of each account that is published

	buffers    [2]*finx.PageBuffer // one is read into while the other is published
	read       int                 // pages
	publishing sync.WaitGroup      // of the page before

	stop  context.CancelCauseFunc
	mu    sync.Mutex
	first error
}

// transfer reads the histories and hands them on, page by page: the next page is
// read while the one before it is published, also from one account to the next.
// It returns when both sides have ended, with the error of the side that failed
// first; what the other says after that is an echo.
func (j *fetch) transfer(ctx context.Context, all []history, parts Parts, done func(*history, events.AccountFetched)) error {
	t := transfer{fetch: j, parts: parts, done: done}
	for i := range t.buffers {
		t.buffers[i] = j.pages.Buffer()
	}
	ctx, t.stop = context.WithCancelCause(ctx)
	defer t.publishing.Wait() // also when this side panics
	defer t.stop(nil)
	for i := range all {
		if err := t.account(ctx, &all[i]); err != nil {
			t.fail(err)
			break
		}
	}
	t.publishing.Wait()
	return t.failed()
}

// fail ends both sides.
func (t *transfer) fail(err error) {
	t.mu.Lock()
	if t.first == nil {
		t.first = err
	}
	t.mu.Unlock()
	t.stop(err)
}

func (t *transfer) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.first
}

// account reads one account to its end. finX pages by count and offset without a
// total or a cursor: oldest first under a fixed upper bound, new bookings land
// behind what was read, and a page shorter than asked for is the last, unless the
// host may have capped it (see isLast).
func (t *transfer) account(ctx context.Context, h *history) error {
	c := cursor{history: h, size: t.PageSize}
	for {
		p, err := t.next(ctx, &c)
		if err != nil {
			return fmt.Errorf("flow: reading transactions from offset %d: %w", c.offset, err)
		}
		t.publishing.Wait()
		if err := t.failed(); err != nil {
			p.buf.Free()
			return err
		}
		t.publishing.Go(func() { t.publish(ctx, p) })
		if p.last {
			return nil
		}
	}
}

// cursor is how far an account has been read.
type cursor struct {
	history *history
	offset  int
	size    int               // of the page to be asked for
	longest int               // page of this account
	before  [sha256.Size]byte // of the first transaction of the page before
}

// next reads the page at the cursor, which moves on.
func (t *transfer) next(ctx context.Context, c *cursor) (p page, err error) {
	buf := t.buffers[t.read%len(t.buffers)]
	t.read++
	defer func() {
		if p.buf == nil {
			buf.Free()
		}
	}()
	items, err := t.readPage(ctx, c, buf)
	if err != nil {
		return page{}, err
	}
	n := len(items)
	if n > 0 {
		sum := sha256.Sum256(items[0])
		if c.offset > 0 && sum == c.before {
			return page{}, fault.Permanent(fault.Rejected, errors.New("finX sends the page before once more"))
		}
		c.before = sum
	}
	for _, item := range items {
		t.bytes += int64(len(item))
	}
	p = page{history: c.history, items: items, buf: buf, first: c.offset == 0, last: t.isLast(n, c.size, c.longest)}
	c.offset, c.longest = c.offset+n, max(c.longest, n)
	return p, nil
}

// readPage reads the page at the cursor into buf, and asks for fewer transactions
// from then on when that many are too large at once.
func (j *fetch) readPage(ctx context.Context, c *cursor, buf *finx.PageBuffer) ([][]byte, error) {
	for {
		query := finx.TransactionQuery{
			AccountID: c.history.ID, Count: c.size, Offset: c.offset, Since: c.history.since, Until: c.history.until,
			SinceType: j.SinceType, Sort: "asc", IncludePending: true,
		}
		var got finx.Page
		err := j.withToken(ctx, func() (err error) {
			got, err = j.Data.Transactions(ctx, j.grant.AccessToken, query, buf)
			return err
		})
		if errors.Is(err, finx.ErrBodyTooLarge) && c.size > 1 {
			c.size = max(1, c.size/4)
			continue
		}
		return got.Items, err
	}
}

// publish hands a page to the broker. A panic becomes an error: on a goroutine of
// its own it would end the process, and the consumer cannot catch it there.
func (t *transfer) publish(ctx context.Context, p page) {
	defer func() {
		if v := recover(); v != nil {
			// What it panicked with may quote a transaction; its type does not.
			t.Metrics.panicked()
			t.Logger.ErrorContext(ctx, "panic in a fetch", "connection_id", t.rec.ID, "panic", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			t.fail(fmt.Errorf("flow: publishing the transactions: panic of type %T", v))
		}
	}()
	// Given back when the account is stored, not sooner: what waits to be published
	// is then bounded by what may be read.
	defer p.buf.Free()
	if err := t.publishPage(ctx, p); err != nil {
		t.fail(fmt.Errorf("flow: publishing the transactions: %w", err))
	}
}

func (t *transfer) publishPage(ctx context.Context, p page) error {
	if p.first {
		t.parts.StartAccount(AccountHead{
			ID: p.history.ID, Raw: p.history.Raw, SyncedAt: p.history.SyncedAt,
			Window: events.Window{Since: p.history.since, Until: p.history.until},
		})
	}
	if err := t.parts.AddPage(ctx, p.items, !p.last); err != nil || !p.last {
		return err
	}
	result, err := t.parts.FinishAccount(ctx)
	if err == nil {
		t.done(p.history, result)
	}
	return err
}
