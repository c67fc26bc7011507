package guard

import (
	"encoding/json"
	"testing"
	"time"
)

// at is a moment so many seconds after a fixed one.
func at(seconds float64) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

var lim = limits{first: 2 * time.Second, most: 10 * time.Second, probe: 30 * time.Second}

func TestOpened(t *testing.T) {
	for _, c := range []struct {
		name   string
		before state
		f      failure
		want   state
	}{
		{
			"from closed, shortest",
			state{Overruled: "x", ClosedAt: at(-5)},
			failure{kind: kindAway, why: "w", holder: "a"},
			state{Kind: kindAway, OpenUntil: at(1), Since: at(0), Trips: 1, Why: "w", By: "a"},
		},
		{
			"from closed, nearly longest",
			state{},
			failure{kind: kindAway, holder: "a", jitter: 0.5},
			state{Kind: kindAway, OpenUntil: at(1.5), Since: at(0), Trips: 1, By: "a"},
		},
		{
			"the probe of another failed",
			state{Kind: kindAway, OpenUntil: at(-1), Since: at(-9), Trips: 1, By: "b", Prober: "a", ProbeUntil: at(20)},
			failure{kind: kindAway, holder: "a"},
			state{Kind: kindAway, OpenUntil: at(2), Since: at(-9), Trips: 2, By: "a", Others: true, Prober: "a", ProbeUntil: at(20)},
		},
		{
			"at most Max",
			state{Kind: kindAway, OpenUntil: at(-1), Since: at(-99), Trips: 70, By: "a"},
			failure{kind: kindAway, holder: "a", jitter: 1},
			state{Kind: kindAway, OpenUntil: at(10), Since: at(-99), Trips: 71, By: "a"},
		},
		{
			"a named time counts beyond Max",
			state{},
			failure{kind: kindThrottled, holder: "a", until: at(7200), jitter: 1},
			state{Kind: kindThrottled, OpenUntil: at(7200), Since: at(0), Trips: 1, By: "a"},
		},
		{
			"a named time sooner than the wait",
			state{},
			failure{kind: kindThrottled, holder: "a", until: at(0.2)},
			state{Kind: kindThrottled, OpenUntil: at(1), Since: at(0), Trips: 1, By: "a"},
		},
		{
			"what the server asked for is over",
			state{Kind: kindThrottled, OpenUntil: at(-1), Since: at(-3), Trips: 1, By: "a"},
			failure{kind: kindAway, holder: "a"},
			state{Kind: kindAway, OpenUntil: at(2), Since: at(-3), Trips: 2, By: "a"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.before.opened(at(0), c.f, lim); got != c.want {
				t.Errorf("opened:\n%+v, want\n%+v", got, c.want)
			}
		})
	}
}

func TestMerged(t *testing.T) {
	throttled := state{Kind: kindThrottled, OpenUntil: at(9), Since: at(-1), Trips: 3, Why: "429", By: "a"}
	away := state{Kind: kindAway, OpenUntil: at(2), Since: at(0), Trips: 1, Why: "reset", By: "b"}
	both := state{Kind: kindThrottled, OpenUntil: at(9), Since: at(-1), Trips: 3, Why: "429", By: "b", Others: true}
	for _, c := range []struct {
		name           string
		earlier, later state
		want           state
	}{
		{"both closed", state{ClosedAt: at(-1)}, state{}, state{ClosedAt: at(-1)}},
		{"only the later is open", state{ClosedAt: at(-1)}, away, away},
		{"only the earlier is open", away, state{}, away},
		{"the longer wait and the older episode", throttled, away, both},
		{"the same twice", away, away, away},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.earlier.merged(at(0), c.later); got != c.want {
				t.Errorf("merged:\n%+v, want\n%+v", got, c.want)
			}
		})
	}
	away.Prober, away.ProbeUntil = "c", at(20)
	if got := away.merged(at(0), throttled); got.Prober != "c" || got.Kind != kindThrottled {
		t.Errorf("another's probe is lost: %+v", got)
	}
	if got := throttled.merged(at(9), state{Kind: kindAway, OpenUntil: at(11), Since: at(9), Trips: 1, By: "a"}); got.Kind != kindAway {
		t.Errorf("a time that is over holds still: %+v", got)
	}
}

func TestExtended(t *testing.T) {
	open := state{Kind: kindAway, OpenUntil: at(5), Since: at(0), Trips: 2, By: "a", Prober: "b", ProbeUntil: at(9)}
	for _, until := range []time.Time{{}, at(4), at(5)} {
		if got, changed := open.extended(failure{kind: kindThrottled, until: until, holder: "b"}); changed || got != open {
			t.Errorf("until %v: %+v", until, got)
		}
	}
	want := open
	want.Kind, want.OpenUntil, want.By, want.Others, want.Why = kindThrottled, at(6), "b", true, "429"
	if got, changed := open.extended(failure{kind: kindThrottled, until: at(6), holder: "b", why: "429"}); !changed || got != want {
		t.Errorf("extended:\n%+v, want\n%+v", got, want)
	}
	if _, changed := (state{}).extended(failure{kind: kindThrottled, until: at(6)}); changed {
		t.Error("what is closed was extended")
	}
}

func TestClaimed(t *testing.T) {
	open := state{Kind: kindAway, OpenUntil: at(0), Since: at(-5), Trips: 1, By: "a"}
	probed := open
	probed.Prober, probed.ProbeUntil = "b", at(10)
	for _, c := range []struct {
		name   string
		s      state
		now    float64
		holder string
		ok     bool
	}{
		{"closed", state{}, 0, "a", false},
		{"too early", open, -0.001, "a", false},
		{"due", open, 0, "a", true},
		{"another probes", probed, 9.9, "a", false},
		{"the same one, which gave it back unheard", probed, 1, "b", true},
		{"the other one had its time", probed, 10, "a", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := c.s
			if c.ok {
				want.Prober, want.ProbeUntil = c.holder, at(c.now+30)
			}
			if got, ok := c.s.claimed(at(c.now), c.holder, lim); ok != c.ok || got != want {
				t.Errorf("claimed: %v\n%+v, want\n%+v", ok, got, want)
			}
		})
	}
	if got, changed := probed.released("b"); !changed || got != open {
		t.Errorf("released: %+v", got)
	}
	for _, holder := range []string{"a", ""} {
		if _, changed := probed.released(holder); changed {
			t.Errorf("%q gave back what another holds", holder)
		}
	}
}

func TestProbeFrom(t *testing.T) {
	s := state{OpenUntil: at(3), By: "a"}
	for _, c := range []struct {
		holder  string
		several bool
		want    time.Time
	}{{"a", false, at(3)}, {"b", true, at(3)}, {"a", true, at(4)}} {
		if got := s.probeFrom(c.holder, c.several); !got.Equal(c.want) {
			t.Errorf("%s, several %v: %v, want %v", c.holder, c.several, got, c.want)
		}
	}
}

func TestClosed(t *testing.T) {
	for _, c := range []struct {
		name      string
		s         state
		closable  bool
		overruled string
	}{
		{"closed", state{}, false, ""},
		{"away, by another alone", state{Kind: kindAway, OpenUntil: at(9), By: "a"}, true, "a"},
		{"away, by several", state{Kind: kindAway, OpenUntil: at(9), By: "a", Others: true}, true, ""},
		{"away, by this one", state{Kind: kindAway, OpenUntil: at(9), By: "b"}, true, ""},
		{"throttled, not over", state{Kind: kindThrottled, OpenUntil: at(0.001), By: "a"}, false, ""},
		{"throttled, over", state{Kind: kindThrottled, OpenUntil: at(0), By: "a"}, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.s.closable(at(0)); got != c.closable {
				t.Errorf("closable = %v", got)
			}
			want := state{Overruled: c.overruled, ClosedAt: at(0)}
			if got := c.s.closed(at(0), "b", false); got != want || got.isOnProbation() {
				t.Errorf("closed: %+v, want %+v", got, want)
			}
			c.s.Since, c.s.Trips, c.s.Why, c.s.Prober, c.s.ProbeUntil = at(-9), 3, "no route", "b", at(9)
			probation := c.s.closed(at(0), "b", true)
			if got := probation.closed(at(0), "b", false); got != want {
				t.Errorf("closed after probation: %+v, want %+v", got, want)
			}
			want.Kind, want.By, want.Others, want.Since, want.Trips, want.Why = c.s.Kind, c.s.By, c.s.Others, at(-9), 3, "no route"
			if probation != want || !probation.isOnProbation() || probation.isOpen() || probation.closable(at(0)) {
				t.Errorf("on probation: %+v, want %+v", probation, want)
			}
		})
	}
}

// What opens after a probation goes on where that began, and is an episode of its own.
func TestMergedAfterProbation(t *testing.T) {
	s := state{Kind: kindAway, Since: at(1), Trips: 4, By: "a"}
	again := state{Kind: kindAway, OpenUntil: at(9), Since: at(5), Trips: 1, By: "b"}
	want := state{Kind: kindAway, OpenUntil: at(9), Since: at(5), Trips: 4, By: "b", Others: true}
	if got := s.merged(at(5), again); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := again.merged(at(5), s); got != again {
		t.Errorf("a probation changes what is open: %+v", got)
	}
	for _, closed := range []state{{}, {ClosedAt: at(3), Overruled: "c"}, {Since: at(0), Trips: 3}} {
		if got := s.merged(at(5), closed); got != s {
			t.Errorf("%+v", got)
		}
		if got := closed.merged(at(5), s); got != s {
			t.Errorf("%+v", got)
		}
	}
	if got := s.as(state{Kind: kindAway, Since: at(1), Trips: 4, By: "a", OpenUntil: at(3)}); got != s {
		t.Errorf("it is open again: %+v", got)
	}
	if got := s.opened(at(5), failure{kind: kindAway, holder: "a", jitter: 0}, limits{first: time.Second, most: time.Minute}); got.Trips != 5 || !got.OpenUntil.Equal(at(13)) || got.Others {
		t.Errorf("opened again: %+v", got)
	}
}

func TestBounded(t *testing.T) {
	s := state{Kind: kindAway, OpenUntil: at(7200), Since: at(7190), Trips: 1, Prober: "a", ProbeUntil: at(7300)}
	seen := s.bounded(at(0), lim)
	if !seen.OpenUntil.Equal(at(10)) || !seen.ProbeUntil.Equal(at(30)) {
		t.Errorf("bounded: %+v", seen)
	}
	if _, ok := s.as(seen).claimed(at(30), "b", lim); !ok {
		t.Error("what was bounded when it was seen cannot be claimed then")
	}
	later := s
	later.Trips++
	if got := later.as(seen); got != later {
		t.Errorf("another opening was taken for the one that was seen: %+v", got)
	}
	s.Kind = kindThrottled
	if got := s.bounded(at(0), lim); !got.OpenUntil.Equal(at(7200)) {
		t.Errorf("what the server asked for was cut: %+v", got)
	}
}

// Replicas of other builds read it too.
func TestTheStoredForm(t *testing.T) {
	full := state{
		Kind: kindAway, OpenUntil: at(1.5), Since: at(0), Trips: 2, Why: "w", By: "a", Others: true,
		Prober: "b", ProbeUntil: at(9), Overruled: "c", ClosedAt: at(-1),
	}
	for _, c := range []struct {
		s    state
		want string
	}{
		{state{}, `{}`},
		{full, `{"kind":"away","open_until":"2026-03-01T12:00:01.5Z","since":"2026-03-01T12:00:00Z","trips":2,"why":"w","by":"a","others":true,` +
			`"prober":"b","probe_until":"2026-03-01T12:00:09Z","overruled":"c","closed_at":"2026-03-01T11:59:59Z"}`},
	} {
		value, err := json.Marshal(c.s)
		if err != nil || string(value) != c.want {
			t.Errorf("stored as %s, %v, want %s", value, err, c.want)
		}
		if got, err := decode(value); err != nil || got != c.s {
			t.Errorf("read back as %+v, %v", got, err)
		}
	}
	if _, err := decode([]byte(`{"trips":`)); err == nil {
		t.Error("half a value was read")
	}
}
