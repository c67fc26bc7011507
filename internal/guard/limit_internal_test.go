package guard

import (
	"math"
	"testing"
	"time"
)

func TestTheLimitGrowsSlowlyAfterTrouble(t *testing.T) {
	for _, c := range []struct {
		name            string
		bound, peak     int
		half, most      float64
		fast, untilMost int // successes until half, and until most
	}{
		{"bounded", 16, 3, 8, 16, 7, 100},
		{"a bound of one", 1, 1, 1, 1, 0, 0},
		{"no bound: what was under way counts", 0, 40, 20, math.Inf(1), 19, 601},
		{"no bound, nothing under way", 0, 0, 1, math.Inf(1), 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLimiter(c.bound)
			if want := float64(c.bound); c.bound > 0 && l.limit != want || c.bound == 0 && l.shown() != 0 {
				t.Errorf("at first the limit is %v", l.limit)
			}
			l.cut(time.Unix(1, 0), c.peak)
			if l.limit != c.half {
				t.Errorf("halved it is %v, want %v", l.limit, c.half)
			}
			l.restart()
			if l.limit != 1 {
				t.Errorf("after the trouble it is %v", l.limit)
			}
			for range c.fast {
				l.succeeded()
			}
			if l.limit != c.half {
				t.Errorf("after %d successes it is %v, want %v", c.fast, l.limit, c.half)
			}
			n := 0
			for before := l.limit; l.limit < c.most; before = l.limit {
				l.succeeded()
				if n++; l.limit > before+1/before && l.limit != c.most || n > 1000 {
					t.Fatalf("success %d took it from %v to %v", n, before, l.limit)
				}
			}
			if n < c.untilMost*9/10 || n > c.untilMost+2 {
				t.Errorf("%v was reached after %d successes, want about %d", c.most, n, c.untilMost)
			}
		})
	}
}

func TestTheLimitIsHalvedOnceASecondAndNeverBelowOne(t *testing.T) {
	l := newLimiter(16)
	begin := time.Unix(1000, 0)
	for _, c := range []struct {
		after time.Duration
		want  float64
	}{
		{0, 8},
		{time.Millisecond, 8},
		{999 * time.Millisecond, 8},
		{time.Second, 4},
		{1500 * time.Millisecond, 4},
		{2 * time.Second, 2},
		{3 * time.Second, 1},
		{4 * time.Second, 1},
	} {
		if l.cut(begin.Add(c.after), 16); l.limit != c.want {
			t.Errorf("after %v it is %v, want %v", c.after, l.limit, c.want)
		}
	}
	if !l.room(0, 0) || l.room(1, 1) {
		t.Error("a limit of one lets something other than one call through")
	}
}

// What hangs since before counts for the bound and not for the slow start.
func TestRoom(t *testing.T) {
	l := newLimiter(4)
	for _, c := range []struct {
		limit          float64
		current, total int
		want           bool
	}{
		{4, 3, 3, true},
		{4, 4, 4, false},
		{1, 0, 3, true},
		{1, 0, 4, false},
		{1.9, 1, 1, false},
		{2, 1, 1, true},
	} {
		l.limit = c.limit
		if got := l.room(c.current, c.total); got != c.want {
			t.Errorf("limit %v, %d under way, %d in all: room = %v", c.limit, c.current, c.total, got)
		}
	}
	if open := newLimiter(0); !open.room(1_000_000, 1_000_000) {
		t.Error("no bound, and no room")
	}
}
