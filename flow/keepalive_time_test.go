package flow_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// idle is a connection whose life is watched hour by hour.
type idle struct {
	*world
	rec   connection.Record
	began time.Time
	// usedAt is when the refresh token at finX got its life, or got it anew.
	usedAt time.Time
	seen   int // refreshes looked at
	least  time.Duration
}

// watch lets so much time pass, looks every hour and at every use of the
// refresh token, and keeps the least time that was left of its life.
func (w *idle) watch(d time.Duration) {
	w.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		w.pass(time.Hour)
		for _, s := range w.wire.refreshes()[w.seen:] {
			w.seen++
			w.left(s.at)
			if s.status == http.StatusOK {
				w.usedAt = s.at
			}
		}
		w.left(time.Now())
		if w.record(w.rec.ID).State != connection.Established {
			continue
		}
		if at, set := w.timers.Waiting()[events.SubjectTimerKeepAlive+"."+w.rec.ID]; !set {
			w.t.Fatalf("day %.1f: no timer is set", w.days())
		} else if limit := w.usedAt.Add(lifetime - lead); at.After(limit) && at.After(time.Now().Add(25*time.Hour)) {
			w.t.Fatalf("day %.1f: the timer is set to %s, the token comes within its lead at %s", w.days(), at, limit)
		}
	}
}

func (w *idle) left(at time.Time) {
	w.least = min(w.least, w.usedAt.Add(lifetime).Sub(at))
}

func (w *idle) days() float64 { return time.Since(w.began).Hours() / 24 }

func newIdle(t *testing.T, o finxtest.Options, syncs bool) *idle {
	t.Helper()
	w := &idle{world: newWorld(t, o), least: lifetime}
	w.syncs = syncs
	w.rec = w.connect(userID)
	w.began, w.usedAt = time.Now(), time.Now()
	return w
}

// told returns what users were told.
func (w *world) told() (reauthorize, expiring int) {
	return len(w.bus.all(events.TypeReauthorizationRequired)), len(w.bus.all(events.TypeConnectionExpiring))
}

// The promise: as long as the service runs, the refresh token never comes within
// its lead of its end, whether or not anybody asks for data.
func TestAnIdleConnectionLives(t *testing.T) {
	for _, c := range []struct {
		name     string
		options  finxtest.Options
		syncs    bool
		min, max int // uses of the refresh token in 200 days
		warnings int
	}{
		{name: "finX rotates", min: 3, max: 3},
		// Day 57 to 58.5, and from then on each day. What our reckoning takes for
		// its end is warned of once; finX knows better and goes on.
		{name: "finX keeps the token", options: finxtest.Options{KeepRefreshToken: true}, min: 141, max: 144, warnings: 1},
		// 200 days at four fetches a day, the first with the tokens of the callback.
		{name: "fetched four times a day", syncs: true, min: 799, max: 800},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.options.ConsentLifetime = 300 * day
				w := newIdle(t, c.options, c.syncs)
				w.watch(200 * day)
				if n := w.sandbox.Stats().Refreshes; n < c.min || n > c.max {
					t.Errorf("%d uses of the refresh token, want %d to %d", n, c.min, c.max)
				}
				if w.least <= lead {
					t.Errorf("at one time %s were left, the lead is %s", w.least, lead)
				}
				if lost, warned := w.told(); lost != 0 || warned != c.warnings {
					t.Errorf("users were told %d times that access is lost and %d times that it will be, want 0 and %d", lost, warned, c.warnings)
				}
				if c.syncs {
					fetches := len(w.bus.all(events.TypeFetchCompleted))
					if n := w.sandbox.Stats().Rotations; n != fetches-1 {
						t.Errorf("%d rotations in %d fetches: the keep-alive added some", n, fetches)
					}
				} else if n := w.due.Load(); n > int64(c.max)+1 {
					t.Errorf("%d timers came due for %d uses", n, c.max)
				}
			})
		})
	}
}

func TestAnIdleConnectionOutlivesAnOutageOfFinX(t *testing.T) {
	for _, c := range []struct {
		name string
		due  int64 // the most timers that may come due in five days
		cut  func(w *idle, down bool)
	}{
		{"unreachable", 5 * 48, func(w *idle, down bool) { w.wire.cut(down) }},
		{"answers 503", 5 * 48, func(w *idle, down bool) {
			if w.sandbox.ClearFaults(); down {
				_, err := w.sandbox.AddFault(finxtest.Fault{Call: "token", Status: http.StatusServiceUnavailable})
				w.must(err)
			}
		}},
		{"asks to come back in a day", 6, func(w *idle, down bool) {
			if w.sandbox.ClearFaults(); down {
				_, err := w.sandbox.AddFault(finxtest.Fault{Call: "token", Status: http.StatusTooManyRequests, RetryAfter: "86400"})
				w.must(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newIdle(t, finxtest.Options{ConsentLifetime: 300 * day, RevokeOnReuse: true}, false)
				w.watch(113 * day) // the second rotation is due between day 114 and 117
				c.cut(w, true)
				due := w.due.Load()
				w.watch(5 * day)
				if n := w.due.Load() - due; n > c.due {
					t.Errorf("%d timers came due in five days of outage, want %d at most", n, c.due)
				}
				c.cut(w, false)
				rotations := w.sandbox.Stats().Rotations
				w.watch(day + 2*time.Hour)
				if n := w.sandbox.Stats().Rotations; rotations != 1 || n != 2 {
					t.Errorf("%d rotations at the end of the outage and %d a day later, want 1 and 2", rotations, n)
				}
				w.watch(80 * day)
				if lost, warned := w.told(); lost != 0 || warned != 0 || w.sandbox.Stats().FamiliesRevoked != 0 {
					t.Errorf("users were told %d times that access is lost, %d times that it will be", lost, warned)
				}
				if w.least <= lead-5*day || w.least > lead {
					t.Errorf("at one time %s were left, want less than the lead, and at most five days less", w.least)
				}
				if n := w.sandbox.Stats().Rotations; n != 3 {
					t.Errorf("%d rotations in 199 days, want 3", n)
				}
			})
		})
	}
}

// finX is away until after the token's end: one warning a week before, no verdict
// of our own, and the tries become more frequent towards the end.
func TestAnOutageBeyondTheEndOfAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newIdle(t, finxtest.Options{ConsentLifetime: 300 * day}, false)
		w.watch(50 * day)
		w.wire.cut(true)
		w.watch(32*day + 20*time.Hour)
		if lost, warned := w.told(); lost != 0 || warned != 0 {
			t.Errorf("told too early: %d, %d", lost, warned)
		}
		w.watch(6 * time.Hour)
		w.wantWarning(6, "")
		w.watch(20 * day)
		if lost, warned := w.told(); lost != 0 || warned != 1 {
			t.Errorf("%d times told that access is lost, %d times that it will be: finX has refused nothing yet, and once is enough", lost, warned)
		}
		w.wire.cut(false)
		w.watch(2 * time.Hour)
		if lost, _ := w.told(); lost != 1 || w.record(w.rec.ID).State != connection.ReauthorizationRequired {
			t.Errorf("%d times told that access is lost, state %s", lost, w.record(w.rec.ID).State)
		}
		due := w.due.Load()
		w.watch(20 * time.Hour)
		if n := w.due.Load() - due; n > 1 {
			t.Errorf("%d timers came due for a connection that has ended", n)
		}
		// The user renews, and the keep-alive begins anew.
		all := w.bus.all(events.TypeReauthorizationRequired)
		w.must(w.CallbackReceived(t.Context(), event("renewed"), w.approve(all[0])))
		w.usedAt, w.least = time.Now(), lifetime
		w.watch(100 * day)
		if lost, warned := w.told(); w.least <= lead || lost != 1 || warned != 1 {
			t.Errorf("after the renewal: %s left, told %d and %d", w.least, lost, warned)
		}
	})
}

func (w *idle) wantWarning(daysLeft int, location string) {
	w.t.Helper()
	all := w.bus.all(events.TypeConnectionExpiring)
	if len(all) != 1 {
		w.t.Fatalf("%d warnings, want 1", len(all))
	}
	var data struct {
		What     string    `json:"what"`
		Expires  time.Time `json:"expires_at"`
		DaysLeft int       `json:"days_left"`
		Location string    `json:"location"`
	}
	w.must(json.Unmarshal(all[0].Data, &data))
	if data.What != events.WhatRefreshToken || data.DaysLeft != daysLeft || !data.Expires.Equal(w.began.Add(lifetime)) || (data.Location == "") != (location == "") {
		w.t.Errorf("warning %+v", data)
	}
}

// Vault takes no writes while a token comes due: nothing is spent, nothing is a
// dead letter, and it is done when Vault is back.
func TestAnIdleConnectionOutlivesAnOutageOfVault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newIdle(t, finxtest.Options{ConsentLifetime: 300 * day}, false)
		w.watch(56 * day)
		w.sealed.Store(true)
		w.watch(5 * day)
		if n := len(w.wire.refreshes()); n != 0 {
			t.Errorf("%d tokens were spent while nothing could be stored", n)
		}
		w.sealed.Store(false)
		w.watch(2 * time.Hour)
		if n := w.sandbox.Stats().Rotations; n != 1 {
			t.Errorf("%d rotations after the outage, want 1", n)
		}
	})
}
