package flow

import (
	"fmt"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

const day = 24 * time.Hour

// Ten thousand connections of one second come due over a day and a half.
func TestConnectionsOfOneSecondDoNotComeDueInOne(t *testing.T) {
	b := Background{Lifetime: 90 * day, Lead: 30 * day}
	hours := map[time.Duration]int{}
	for i := range 10_000 {
		id := events.UUIDv5("connection", fmt.Sprint(i))
		m := b.margin(id)
		if m < 36*time.Hour || m >= 72*time.Hour || m != b.margin(id) || b.interval(id) != 60*day-m {
			t.Fatalf("margin %s, interval %s", m, b.interval(id))
		}
		hours[m.Truncate(time.Hour)]++
	}
	for hour, n := range hours {
		if n < 200 || n > 360 { // 278 on average
			t.Errorf("%d of 10000 have a margin of %s", n, hour)
		}
	}
}

// Odd settings leave an interval that goes forward.
func TestALeadCloseToTheLifetime(t *testing.T) {
	b := Background{Lifetime: 20 * time.Second, Lead: 19 * time.Second}
	now := time.Now()
	if d := b.interval("c1"); d <= 0 || d >= time.Second {
		t.Errorf("interval %s, want within the second between lead and lifetime", d)
	}
	if at := b.after("c1", now, now); at.Sub(now) < timerFloor {
		t.Errorf("the next timer in %s", at.Sub(now))
	}
}

func TestTheNextTry(t *testing.T) {
	b := Background{Lifetime: 90 * day, Lead: 30 * day}
	now := time.Now()
	cases := []struct {
		name     string
		left     time.Duration
		err      error
		from, to time.Duration
	}{
		{"weeks are left", 20 * day, nil, 30 * time.Minute, 38 * time.Minute},
		{"a day is left", day, nil, 5 * time.Minute, 7 * time.Minute},
		{"an hour is left", time.Hour, nil, 12 * time.Second, 16 * time.Second},
		{"seconds are left", 2 * time.Second, nil, time.Second, 2 * time.Second},
		{"it is over", -day, nil, 30 * time.Minute, 38 * time.Minute},
		{"finX asks for two hours", day, fault.Throttled(fault.FinX, now.Add(2*time.Hour), errCrowded), 2 * time.Hour, 2 * time.Hour},
		{"finX asks for a second", day, fault.Throttled(fault.FinX, now.Add(time.Second), errCrowded), 5 * time.Minute, 7 * time.Minute},
	}
	for _, c := range cases {
		rec := connection.Record{ID: "c1", RefreshObtainedAt: now.Add(c.left - b.Lifetime)}
		if d := b.again(rec, now, c.err).Sub(now); d < c.from || d > c.to {
			t.Errorf("%s: again in %s, want %s to %s", c.name, d, c.from, c.to)
		}
	}
}
