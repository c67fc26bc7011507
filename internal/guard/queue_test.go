package guard_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/guard"
)

// line makes calls wait behind one that is under way, and notes who goes when.
type line struct {
	t     *testing.T
	g     *guard.Guard
	first func(guard.Answer)
	mu    sync.Mutex
	order []string
	wg    sync.WaitGroup
}

func newLine(t *testing.T) *line {
	t.Helper()
	g, err := guard.New(guard.Config{Name: "finx", Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	end, err := g.Begin(t.Context(), guard.Page)
	if err != nil {
		t.Fatal(err)
	}
	return &line{t: t, g: g, first: end}
}

// join adds a call to the queue; it takes a second when it is its turn.
func (l *line) join(name string, p guard.Priority) {
	l.wg.Go(func() {
		end, err := l.g.Begin(l.t.Context(), p)
		if err != nil {
			l.t.Errorf("%s: %v", name, err)
			return
		}
		l.mu.Lock()
		l.order = append(l.order, name)
		l.mu.Unlock()
		time.Sleep(time.Second)
		end(guard.Answer{Kind: guard.Alive})
	})
	synctest.Wait()
}

func (l *line) run() []string {
	l.first(guard.Answer{Kind: guard.Alive})
	l.wg.Wait()
	return l.order
}

func TestTheMostUrgentGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		l.join("page 1", guard.Page)
		l.join("page 2", guard.Page)
		l.join("accounts", guard.Accounts)
		l.join("token", guard.Token)
		l.join("link 1", guard.Link)
		l.join("callback 1", guard.Callback)
		time.Sleep(time.Second)
		l.join("link 2", guard.Link)
		l.join("callback 2", guard.Callback)
		want := []string{"callback 1", "callback 2", "link 1", "link 2", "token", "accounts", "page 1", "page 2"}
		if got := l.run(); !slices.Equal(got, want) {
			t.Errorf("they went in the order\n%q, want\n%q", got, want)
		}
	})
}

// What has waited for its allowance goes before what is more urgent and came later;
// a callback goes before everything, however long that has waited.
func TestWhoWaitedLongGoesBeforeTheMoreUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		l.join("page", guard.Page)
		time.Sleep(31 * time.Second)
		l.join("accounts", guard.Accounts)
		time.Sleep(27500 * time.Millisecond)
		l.join("token", guard.Token)
		l.join("link", guard.Link)
		l.join("callback", guard.Callback)
		time.Sleep(time.Minute) // they are all overdue
		l.join("late callback", guard.Callback)
		want := []string{"callback", "late callback", "page", "link", "accounts", "token"}
		if got := l.run(); !slices.Equal(got, want) {
			t.Errorf("they went in the order\n%q, want\n%q", got, want)
		}
	})
}

// Twice as many links come as the server takes; pages go all the same once they
// have waited for a minute more than a link.
func TestPagesAreNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := guard.New(guard.Config{Name: "finx", Rate: 10})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		call := func(p guard.Priority, done func()) {
			wg.Go(func() {
				end, err := g.Begin(ctx, p)
				if err != nil {
					return
				}
				end(guard.Answer{Kind: guard.Alive})
				done()
			})
		}
		var pages, longest atomic.Int64
		begin := time.Now()
		for range 20 {
			call(guard.Page, func() {
				pages.Add(1)
				longest.Store(int64(time.Since(begin))) // the last one's stays
			})
		}
		for time.Since(begin) < 5*time.Minute {
			call(guard.Link, func() {})
			time.Sleep(50 * time.Millisecond)
		}
		cancel()
		wg.Wait()
		// At double load, what came at x goes at 2x: the links that come before the
		// 58th second go before the pages, which is over at 1:56.
		if last := time.Duration(longest.Load()); pages.Load() != 20 || last > 2*time.Minute {
			t.Errorf("%d of 20 pages went, the last after %v", pages.Load(), last)
		}
	})
}

// The replicas share one rate, also while one more joins or one leaves.
func TestReplicasShareTheRate(t *testing.T) {
	const rate = 20
	for _, n := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("%d replicas", n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(10*time.Millisecond, always(guard.Answer{Kind: guard.Alive}))
				var alive atomic.Int32
				cfg := guard.Config{Shared: newMemory(), Rate: rate, Replicas: func() int { return int(alive.Load()) }}
				join := func(i int) (leave func()) {
					alive.Add(1)
					r := start(t, fmt.Sprintf("replica-%d", i), s, cfg)
					stop := crowd(t, 20, guard.Page, r)
					return func() {
						stop()
						r.stop()
						alive.Add(-1)
					}
				}
				var leave func()
				for i := range n {
					leave = join(i)
				}
				check := func(what string) {
					t.Helper()
					time.Sleep(5 * time.Second)
					begin := time.Now()
					time.Sleep(time.Minute)
					if got := len(s.since(begin)); got < rate*60*97/100 || got > rate*60+int(alive.Load()) {
						t.Errorf("%s: %d calls in a minute, want %d", what, got, rate*60)
					}
				}
				check("from the start")
				leaveLast := join(n)
				check("with one more")
				leaveLast()
				check("without it again")
				if n > 1 {
					leave()
					check("with one less")
				}
				for i := range s.calls[rate:] {
					if d := s.calls[rate+i].at.Sub(s.calls[i].at); d < 700*time.Millisecond {
						t.Fatalf("%d calls within %v", rate+1, d)
					}
				}
			})
		})
	}
}

func TestNoMoreAtOnceThanConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(time.Second, always(guard.Answer{Kind: guard.Alive}))
		stop := crowd(t, 30, guard.Page, start(t, "one", s, guard.Config{Concurrency: 7}))
		time.Sleep(10*time.Second + time.Millisecond)
		stop()
		if got := s.most["one"]; got != 7 {
			t.Errorf("%d calls at once, want 7", got)
		}
		if got := len(s.since(time.Time{})); got < 70 {
			t.Errorf("%d calls in ten seconds, want 70", got)
		}
	})
}
