package finxtest

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

func TestRateLimit(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts Options
		want int
	}{
		{"429 in seconds", Options{RetryAfter: 3 * time.Second}, 429},
		{"503 with a date", Options{RetryAfter: 3 * time.Second, RateStatus: 503, RetryAfterDate: true}, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.RatePerSecond, tt.opts.RateBurst = 0.01, 2
			s, c := start(t, tt.opts)
			c.call(http.StatusOK, "GET", "/version", "", nil)
			c.call(http.StatusOK, "GET", "/version", "", nil)
			a := c.call(tt.want, "GET", "/version", "", nil)
			a.finxError(t)
			header := a.header.Get("Retry-After")
			wait := 0.0
			if tt.opts.RetryAfterDate {
				at, err := http.ParseTime(header)
				if err != nil {
					t.Fatalf("Retry-After %q: %v", header, err)
				}
				wait = time.Until(at).Seconds()
			} else if n, err := strconv.Atoi(header); err == nil {
				wait = float64(n)
			}
			if wait < 99 || wait > 103 { // one call in 100 s
				t.Errorf("Retry-After %q is %.1f s away, want about 100", header, wait)
			}
			if st := s.Stats(); st.Throttled != 1 || st.Calls["version"][tt.want] != 1 {
				t.Errorf("stats %+v", st)
			}
			s.Advance(101 * time.Second)
			c.call(http.StatusOK, "GET", "/version", "", nil)
		})
	}
}

func TestControlsAndWidgetAreNotLimited(t *testing.T) {
	_, c := start(t, Options{RatePerSecond: 0.001})
	l := c.link("/ongoing/access", accessBody())
	for range 3 {
		c.browse(l.Location)
		c.call(http.StatusOK, "GET", "/_sandbox/stats", "", nil)
	}
}

// TestBusyUser holds one slow answer open and counts what happens beside it.
func TestBusyUser(t *testing.T) {
	s, c := start(t, Options{BusyAbove: 1})
	tk, other := c.login(s, "u1"), c.login(s, "u2")
	entered := s.userForTest("u1")
	if !s.enter(entered) {
		t.Fatal("the first call is refused")
	}
	a := c.call(http.StatusLocked, "GET", "/rest/transactions", tk.AccessToken, nil)
	if code, _, _ := a.finxError(t); code != 1008 {
		t.Errorf("code %d", code)
	}
	c.call(http.StatusOK, "GET", "/rest/transactions", other.AccessToken, nil)
	s.leave(entered)
	c.call(http.StatusOK, "GET", "/rest/transactions", tk.AccessToken, nil)
	if st := s.Stats(); st.Busy != 1 || st.MaxConcurrentPerUser != 1 {
		t.Errorf("stats %+v", st)
	}
}

func (s *Sandbox) userForTest(id string) *user {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.userOf(id)
}

// TestEverythingAtOnce is for the race detector.
func TestEverythingAtOnce(t *testing.T) {
	s, c := start(t, Options{})
	var wg sync.WaitGroup
	for _, id := range []string{"a", "b", "c", "a"} {
		wg.Go(func() {
			tk := c.login(s, id)
			for range 5 {
				tk = c.tokens(refreshBody(tk.RefreshToken))
				c.list(tk.AccessToken, "include_pending", 1)
				c.accounts(tk.AccessToken)
				if err := s.Grow(id, 0, 3); err != nil {
					t.Error(err)
				}
				s.Stats()
				s.Advance(time.Second)
			}
		})
	}
	wg.Wait()
	if st := s.Stats(); st.Rotations != 20 || st.Total("transactions") != 20 {
		t.Errorf("stats %+v", st)
	}
}
