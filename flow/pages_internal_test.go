package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// ledger is a bank and a broker that say when they were asked for what.
type ledger struct {
	life  time.Duration // of a renewed token; 0 = an hour
	total int           // transactions of each account
	read  time.Duration // that a page takes
	store time.Duration // that a transaction takes
	// failRead and failAdd, if set, are asked before each.
	failRead, failAdd func(ctx context.Context, n int) error

	mu      sync.Mutex
	asked   []string // account, offset, count
	tokens  []string
	taken   []string // account, transaction
	at      []time.Duration
	began   time.Time
	account string
	renewed int
}

func (l *ledger) Accounts(context.Context, secret.Text) ([]finx.Account, error) { return nil, nil }

func (l *ledger) Transactions(ctx context.Context, access secret.Text, q finx.TransactionQuery, _ *finx.PageBuffer) (finx.Page, error) {
	l.mu.Lock()
	l.asked = append(l.asked, fmt.Sprintf("%s+%d/%d", q.AccountID, q.Offset, q.Count))
	l.tokens = append(l.tokens, access.Reveal())
	n := len(l.asked)
	l.mu.Unlock()
	if l.failRead != nil {
		if err := l.failRead(ctx, n); err != nil {
			return finx.Page{}, err
		}
	}
	select {
	case <-time.After(l.read):
	case <-ctx.Done():
		return finx.Page{}, context.Cause(ctx)
	}
	var items [][]byte
	for i := q.Offset; i < min(q.Offset+q.Count, l.total); i++ {
		items = append(items, fmt.Append(nil, i))
	}
	return finx.Page{Items: items}, nil
}

func (l *ledger) StartAccount(h AccountHead) { l.account = h.ID }

func (l *ledger) AddPage(ctx context.Context, transactions [][]byte, _ bool) error {
	for _, raw := range transactions {
		if err := l.add(ctx, raw); err != nil {
			return err
		}
	}
	return nil
}

func (l *ledger) add(ctx context.Context, raw []byte) error {
	if l.failAdd != nil {
		if err := l.failAdd(ctx, len(l.taken)+1); err != nil {
			return err
		}
	}
	time.Sleep(l.store)
	l.taken, l.at = append(l.taken, l.account+" "+string(raw)), append(l.at, time.Since(l.began))
	return nil
}

func (l *ledger) FinishAccount(context.Context) (events.AccountFetched, error) {
	return events.AccountFetched{AccountID: l.account}, nil
}

func (l *ledger) Close() []string { return nil }

func (l *ledger) Exchanged(context.Context, string, secret.Text) (custody.Grant, bool, error) {
	return custody.Grant{}, false, nil
}

func (l *ledger) Exchange(context.Context, string, secret.Text, string) (custody.Grant, error) {
	return custody.Grant{}, nil
}

func (l *ledger) Access(context.Context, string) (custody.Grant, error) {
	return custody.Grant{AccessToken: secret.New("access-0"), ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func (l *ledger) Renew(context.Context, string, secret.Text) (custody.Grant, error) {
	l.renewed++
	return custody.Grant{AccessToken: secret.New(fmt.Sprintf("access-%d", l.renewed)), ExpiresAt: time.Now().Add(cmp.Or(l.life, time.Hour))}, nil
}

func (l *ledger) calls() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.asked)
}

// fetch starts a fetch of accounts in pages of ten.
func (l *ledger) fetch(accounts ...string) (job *fetch, run func(context.Context) error) {
	l.began = time.Now()
	f := &Flow{
		Config: Config{Data: l, Tokens: l, PageSize: 10, Logger: slog.New(slog.DiscardHandler)},
		pages:  finx.NewPagePool(pageMemory),
	}
	f.honoured.Store(10)
	job = &fetch{Flow: f, rec: connection.Record{ID: "c", Fetch: &connection.OpenFetch{}}}
	var all []history
	for _, id := range accounts {
		all = append(all, history{Account: finx.Account{ID: id}})
	}
	return job, func(ctx context.Context) error {
		return job.transfer(ctx, all, l, func(*history, events.AccountFetched) {})
	}
}

// While a page is published the next one is read, and none beyond it.
func TestTheNextPageIsReadWhileThisOneIsPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		l := &ledger{total: 35, failAdd: func(_ context.Context, n int) error {
			if n%10 == 1 {
				<-gate
			}
			return nil
		}}
		_, run := l.fetch("a", "b")
		ended := make(chan error, 1)
		go func() { ended <- run(t.Context()) }()
		want := []string{"a+0/10", "a+10/10", "a+20/10", "a+30/10", "b+0/10", "b+10/10", "b+20/10", "b+30/10"}
		// The transactions 1, 11, 21, … of those taken are the gates; an account ends
		// with five, so the gates are not all at the beginning of a page.
		for n := range 4 {
			time.Sleep(time.Hour)
			synctest.Wait()
			if got := l.calls(); !slices.Equal(got, want[:n+2]) {
				t.Fatalf("while page %d is published: asked for %q, want %q", n+1, got, want[:n+2])
			}
			gate <- struct{}{}
		}
		close(gate)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if got := l.calls(); !slices.Equal(got, want) {
			t.Errorf("asked for %q, want %q", got, want)
		}
		var all []string
		for _, a := range []string{"a", "b"} {
			for i := range 35 {
				all = append(all, fmt.Sprintf("%s %d", a, i))
			}
		}
		if !slices.Equal(l.taken, all) {
			t.Errorf("published %q", l.taken)
		}
	})
}

// Reading and publishing that take the same time take half of it together.
func TestReadingAndPublishingTakeTheLongerOfBoth(t *testing.T) {
	for _, c := range []struct{ read, store, want time.Duration }{
		{time.Second, 100 * time.Millisecond, 11 * time.Second}, // ten pages, and the last is published
		{time.Second, 10 * time.Millisecond, 10*time.Second + 100*time.Millisecond},
		{100 * time.Millisecond, 100 * time.Millisecond, 10*time.Second + 100*time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := &ledger{total: 99, read: c.read, store: c.store}
			_, run := l.fetch("a")
			if err := run(t.Context()); err != nil {
				t.Fatal(err)
			}
			// The last page has one transaction less.
			if took := time.Since(l.began) + c.store; took != c.want {
				t.Errorf("%s a page and %s a transaction: %s, want %s", c.read, c.store, took, c.want)
			}
		})
	}
}

// Whichever side fails ends the other, and its error is the one that counts.
// synctest fails the test for a goroutine that stays behind.
func TestTheFirstErrorEndsBothSides(t *testing.T) {
	bank := fault.Throttled(fault.FinX, time.Now().Add(time.Hour), errors.New("the bank"))
	broker := fault.Transient(fault.NATS, errors.New("the broker"))
	at := func(when int, err error) func(context.Context, int) error {
		return func(_ context.Context, n int) error {
			if n == when {
				return err
			}
			return nil
		}
	}
	stuck := func(when int) func(context.Context, int) error {
		return func(ctx context.Context, n int) error {
			if n < when {
				return nil
			}
			<-ctx.Done()
			return fault.Transient("", context.Cause(ctx))
		}
	}
	late := func(err error) func(context.Context, int) error {
		return func(ctx context.Context, _ int) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return err
		}
	}
	for name, c := range map[string]struct {
		read, add func(context.Context, int) error
		want      error
	}{
		"the bank, at the first page":           {at(1, bank), nil, bank},
		"the bank, later":                       {at(4, bank), nil, bank},
		"the bank, while the broker is stuck":   {at(2, bank), stuck(3), bank},
		"the bank, and then the broker as well": {at(2, bank), late(broker), bank},
		"the broker, at once":                   {nil, at(1, broker), broker},
		"the broker, later":                     {nil, at(57, broker), broker},
		"the broker, while the bank is stuck":   {stuck(3), at(12, broker), broker},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &ledger{total: 95, read: time.Second, store: time.Millisecond, failRead: c.read, failAdd: c.add}
				_, run := l.fetch("a", "b")
				err := run(t.Context())
				if !errors.Is(err, c.want) || fault.Of(err) != fault.Of(c.want) || fault.DependencyOf(err) != fault.DependencyOf(c.want) {
					t.Errorf("error %v, want %v", err, c.want)
				}
			})
		})
	}
}

func TestAFetchEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := errors.New("the lease is lost")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(2500*time.Millisecond, func() { cancel(over) })
		_, run := (&ledger{total: 95, read: time.Second, store: time.Millisecond}).fetch("a")
		if err := run(ctx); !errors.Is(err, over) {
			t.Errorf("error %v, want %v", err, over)
		}
	})
}

// A bug of ours in the side that has a goroutine of its own is a failed attempt;
// in the other it goes on to the consumer, when the first has ended.
func TestAPanicOfEitherSideEndsBoth(t *testing.T) {
	burst := func(when int) func(context.Context, int) error {
		return func(_ context.Context, n int) error {
			if n == when {
				panic("a transaction of somebody")
			}
			return nil
		}
	}
	synctest.Test(t, func(t *testing.T) {
		_, run := (&ledger{total: 95, read: time.Second, failAdd: burst(15)}).fetch("a")
		if err := run(t.Context()); err == nil || fault.Of(err) != fault.Retry || strings.Contains(err.Error(), "somebody") {
			t.Errorf("error %v", err)
		}
		_, run = (&ledger{total: 95, read: time.Second, store: time.Second, failRead: burst(3)}).fetch("a")
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		t.Errorf("no panic, error %v", run(t.Context()))
	})
}

// The token is used and renewed by the reading side alone, once.
func TestATokenThatDiesBetweenPagesIsRenewedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{total: 45, read: time.Second, store: 200 * time.Millisecond, failRead: func(_ context.Context, n int) error {
			if n == 3 {
				return finx.ErrUnauthorized
			}
			return nil
		}}
		_, run := l.fetch("a")
		if err := run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{"access-0", "access-0", "access-0", "access-1", "access-1", "access-1"}
		if !slices.Equal(l.tokens, want) || l.renewed != 1 || len(l.taken) != 45 {
			t.Errorf("tokens %q, renewed %d times, %d transactions", l.tokens, l.renewed, len(l.taken))
		}
	})
}

// A new token that finX refuses ends the fetch, unless it was dead before it could
// be used: finX gives an old answer again after it had lost it, and queues take time.
func TestANewTokenThatIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		life time.Duration
		want fault.Verdict
	}{
		"while it lives":  {time.Hour, fault.GiveUp},
		"after its end":   {time.Millisecond, fault.Retry},
		"dead on arrival": {-time.Second, fault.Retry},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &ledger{total: 45, read: time.Second, life: tc.life, failRead: func(context.Context, int) error {
					time.Sleep(time.Second) // in finX's queue
					return finx.ErrUnauthorized
				}}
				_, run := l.fetch("a")
				err := run(t.Context())
				if fault.Of(err) != tc.want || fault.DependencyOf(err) != "" || l.renewed != 1 {
					t.Errorf("renewed %d times, verdict %v of %v", l.renewed, fault.Of(err), err)
				}
			})
		})
	}
}

// A page that is too large is asked for in quarters from there on, and nothing is
// left out or read twice.
func TestPagesThatAreTooLargeGetSmaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{total: 23, read: time.Second, failRead: func(_ context.Context, n int) error {
			if n == 2 {
				return fault.Permanent(fault.Oversize, finx.ErrBodyTooLarge)
			}
			return nil
		}}
		_, run := l.fetch("a", "b")
		if err := run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"a+0/10", "a+10/10", "a+10/2", "a+12/2", "a+14/2", "a+16/2", "a+18/2", "a+20/2", "a+22/2",
			"b+0/10", "b+10/10", "b+20/10",
		}
		if got := l.calls(); !slices.Equal(got, want) || len(l.taken) != 2*23 {
			t.Errorf("asked for %q, %d transactions", got, len(l.taken))
		}
	})
}
