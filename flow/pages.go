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
// or take one of them. Some forty pages of a usual size: more than are published
// at the same time, less than are asked for.
const pageMemory = 32 << 20

// page is one page on its way from the side that reads to the side that publishes.
type page struct {
	history     *history
	items       [][]byte // in buf
	buf         *finx.PageBuffer
	first, last bool // of its account
}

// belt is what lies between the two sides of a fetch. There are two buffers on
// it: one is read into while the other is published, and who is ahead waits.
type belt struct {
	free chan *finx.PageBuffer
	full chan page // closed after the last page of the fetch
}

// transfer reads the histories and hands them on, page by page: the next page is
// read while the one before it is published, also from one account to the next.
// done is told of each account that is published. It returns when both sides have
// ended, with the error of the side that failed first; what the other says after
// that is an echo.
func (j *fetch) transfer(ctx context.Context, all []history, parts Parts, done func(*history, events.AccountFetched)) error {
	b := belt{free: make(chan *finx.PageBuffer, 2), full: make(chan page, 1)}
	for range cap(b.free) {
		b.free <- j.pages.Buffer()
	}
	ctx, stop := context.WithCancelCause(ctx)
	var once sync.Once
	var first error
	fail := func(err error) {
		if err != nil {
			once.Do(func() { first = err })
			stop(err)
		}
	}
	var reading sync.WaitGroup
	defer b.drain()
	defer reading.Wait() // also when this side panics
	defer stop(nil)
	reading.Go(func() { fail(j.readSafely(ctx, all, b)) })
	fail(j.publish(ctx, b, parts, done))
	reading.Wait()
	return first
}

// drain gives the memory of pages back that nobody came to publish.
func (b belt) drain() {
	for {
		select {
		case p, more := <-b.full:
			if !more {
				return
			}
			p.buf.Free()
		default:
			return
		}
	}
}

// readSafely turns a panic into an error: on a goroutine of its own it would end
// the process, and the consumer cannot catch it there.
func (j *fetch) readSafely(ctx context.Context, all []history, b belt) (err error) {
	defer func() {
		if p := recover(); p != nil {
			// What it panicked with may quote a transaction; its type does not.
			j.Logger.ErrorContext(ctx, "panic in a fetch", "connection_id", j.rec.ID, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			err = fmt.Errorf("flow: reading transactions: panic of type %T", p)
		}
	}()
	return j.read(ctx, all, b)
}

// read is the side that speaks to finX, the tokens included.
func (j *fetch) read(ctx context.Context, all []history, b belt) error {
	for i := range all {
		if err := j.readHistory(ctx, &all[i], b); err != nil {
			return err
		}
	}
	close(b.full)
	return nil
}

// readHistory reads one account to its end. finX pages by count and offset without
// a total or a cursor: oldest first under a fixed upper bound, new bookings land
// behind what was read, and a page shorter than asked for is the last, unless the
// host may have capped it (see isLast).
func (j *fetch) readHistory(ctx context.Context, h *history, b belt) error {
	cursor := cursor{history: h, size: j.PageSize}
	for {
		last, err := j.readNext(ctx, &cursor, b)
		if err != nil {
			return fmt.Errorf("flow: reading transactions from offset %d: %w", cursor.offset, err)
		}
		if last {
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

// readNext reads the page at the cursor, hands it over and moves on.
func (j *fetch) readNext(ctx context.Context, c *cursor, b belt) (last bool, err error) {
	var buf *finx.PageBuffer
	select {
	case buf = <-b.free:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	handed := false
	defer func() {
		if !handed {
			buf.Free()
		}
	}()
	items, err := j.readPage(ctx, c, buf)
	if err != nil {
		return false, err
	}
	n := len(items)
	if n > 0 {
		sum := sha256.Sum256(items[0])
		if c.offset > 0 && sum == c.before {
			return false, fault.Permanent(fault.Rejected, errors.New("finX sends the page before once more"))
		}
		c.before = sum
	}
	last = j.isLast(n, c.size, c.longest)
	select {
	case b.full <- page{history: c.history, items: items, buf: buf, first: c.offset == 0, last: last}:
		handed = true
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	c.offset, c.longest = c.offset+n, max(c.longest, n)
	return last, nil
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

// publish is the side that speaks to the broker.
func (j *fetch) publish(ctx context.Context, b belt, parts Parts, done func(*history, events.AccountFetched)) error {
	for {
		var p page
		select {
		case next, more := <-b.full:
			if !more {
				return nil
			}
			p = next
		case <-ctx.Done():
			return fmt.Errorf("flow: publishing the transactions: %w", context.Cause(ctx))
		}
		if err := j.publishPage(ctx, p, parts); err != nil {
			return fmt.Errorf("flow: publishing the transactions: %w", err)
		}
		b.free <- p.buf // has room for both
		if !p.last {
			continue
		}
		result, err := parts.FinishAccount(ctx)
		if err != nil {
			return fmt.Errorf("flow: publishing the transactions: %w", err)
		}
		done(p.history, result)
	}
}

func (j *fetch) publishPage(ctx context.Context, p page, parts Parts) error {
	defer p.buf.Free()
	if p.first {
		parts.StartAccount(AccountHead{
			ID: p.history.ID, Raw: p.history.Raw, SyncedAt: p.history.SyncedAt,
			Window: events.Window{Since: p.history.since, Until: p.history.until},
		})
	}
	for _, item := range p.items {
		if err := parts.Add(ctx, item); err != nil {
			return err
		}
	}
	return nil
}
