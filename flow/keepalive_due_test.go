package flow_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/flow"
)

// aged is an established connection whose refresh token was obtained that long ago.
func (r *rig) aged(age time.Duration) connection.Record {
	r.t.Helper()
	rec := r.established()
	r.must(r.CatchUp(r.t.Context())) // as at every start: timers wait for it
	at := time.Now().Add(-age).UTC()
	tokens, version, err := r.secrets.Get(r.t.Context(), rec.ID)
	r.must(err)
	tokens.RefreshObtainedAt = at
	_, err = r.secrets.Put(r.t.Context(), rec.ID, tokens, version)
	r.must(err)
	r.change(rec.ID, func(c *connection.Record) {
		c.RefreshObtainedAt, c.KeepAliveAt = at, time.Now().Add(-time.Minute)
	})
	return r.record(rec.ID)
}

func (r *rig) change(id string, f func(*connection.Record)) {
	r.t.Helper()
	rec, rev, err := r.records.Get(r.t.Context(), id)
	r.must(err)
	f(&rec)
	_, err = r.records.Update(r.t.Context(), rec, rev)
	r.must(err)
}

func (r *rig) keepAlive(eventID, connectionID string) error {
	return r.KeepAliveDue(r.t.Context(), event(eventID), events.KeepAliveDue{ConnectionID: connectionID})
}

// timer returns when the keep-alive timer of a connection is due, by the broker.
func (r *rig) timer(id string) (at time.Time) {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), events.StreamTimers)
	r.must(err)
	msg, err := s.GetLastMsgForSubject(r.t.Context(), events.SubjectTimerKeepAlive+"."+id)
	r.must(err)
	e, err := events.Codec{}.Parse(events.Message{Subject: events.SubjectDueKeepAlive + "." + id, Header: msg.Header, Data: msg.Data})
	r.must(err)
	return e.Time
}

func (r *rig) wantTimer(id string, from, to time.Duration) {
	r.t.Helper()
	if in := time.Until(r.timer(id)); in < from || in > to {
		r.t.Errorf("timer in %s, want %s to %s", in, from, to)
	}
}

func TestEstablishingSetsTheKeepAlive(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec := r.established()
	r.wantTimer(rec.ID, lifetime-lead-lead/10-time.Minute, lifetime-lead-lead/20+time.Second)
	if d := r.timer(rec.ID).Sub(rec.KeepAliveAt); d < 0 || d > time.Second {
		t.Errorf("timer %s, record %s", r.timer(rec.ID), rec.KeepAliveAt)
	}
}

// A connection of a release without keep-alive gets its timer with its next
// fetch, and fetches leave it alone from then on.
func TestAFetchAdoptsAConnectionWithoutATimer(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec := r.established()
	r.change(rec.ID, func(c *connection.Record) { c.KeepAliveAt = time.Time{} })
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	adopted := r.record(rec.ID).KeepAliveAt
	if adopted.IsZero() {
		t.Fatal("no timer")
	}
	r.bus.failOn("keepalive")
	r.must(r.sync("sync-2", events.SyncRequested{ConnectionID: rec.ID}))
	if got := r.record(rec.ID).KeepAliveAt; !got.Equal(adopted) {
		t.Errorf("moved from %s to %s", adopted, got)
	}
}

func TestADueTokenIsRotated(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec := r.aged(59 * day)
	for range 2 { // and a redelivery
		r.must(r.keepAlive("due-1", rec.ID))
	}
	after := r.record(rec.ID)
	if n := r.sandbox.Stats().Rotations; n != 1 || time.Since(after.RefreshObtainedAt) > time.Minute {
		t.Errorf("%d rotations, token of %s", n, after.RefreshObtainedAt)
	}
	r.wantTimer(rec.ID, 57*day-time.Hour, 59*day)
}

func TestADueTimerOfATokenThatIsNotDue(t *testing.T) {
	cases := []struct {
		name  string
		alter func(r *rig, id string)
	}{
		{"young by the record", func(r *rig, id string) {
			r.change(id, func(c *connection.Record) { c.RefreshObtainedAt = time.Now().Add(-day) })
		}},
		{"young by custody only", func(r *rig, id string) {
			tokens, version, err := r.secrets.Get(r.t.Context(), id)
			r.must(err)
			tokens.RefreshObtainedAt = time.Now().Add(-day)
			_, err = r.secrets.Put(r.t.Context(), id, tokens, version)
			r.must(err)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, finxtest.Options{})
			rec := r.aged(59 * day)
			c.alter(r, rec.ID)
			r.must(r.keepAlive("due-1", rec.ID))
			if n := r.sandbox.Stats().Total("token.refresh"); n != 0 {
				t.Errorf("%d uses of the token", n)
			}
			r.wantTimer(rec.ID, 55*day, 58*day)
			if at := r.record(rec.ID).KeepAliveAt; time.Until(at) < 55*day {
				t.Errorf("the record says %s", at)
			}
		})
	}
}

func TestADueTimerOfAConnectionThatIsNone(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec, _ := r.connect("connect-1", "state-1")
	r.bus.failOn("keepalive") // no timer may be set
	r.must(r.keepAlive("due-1", rec.ID))
	r.must(r.keepAlive("due-2", events.NewUUID()))
	if n := r.sandbox.Stats().Total("token.refresh"); n != 0 {
		t.Errorf("%d uses of a token", n)
	}
}

// What the keep-alive finds out it says as a fetch would, without a fetch, and
// under the id under which a fetch would say it too.
func TestTheKeepAliveAnnouncesALostAccess(t *testing.T) {
	cases := []struct {
		name, reason string
		lose         func(r *rig, id string)
	}{
		{"taken back", events.ReasonRefreshRejected, func(r *rig, _ string) { r.sandbox.RevokeUser(userID) }},
		{"answer lost", events.ReasonRotationOutcomeUnknown, func(r *rig, _ string) {
			_, err := r.sandbox.AddFault(finxtest.Fault{Call: "token.refresh", Times: 1, Status: http.StatusGatewayTimeout, When: "after"})
			r.must(err)
		}},
		{"no tokens", events.ReasonAccessRevoked, func(r *rig, id string) {
			_, err := r.secrets.Erase(r.t.Context(), id)
			r.must(err)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, finxtest.Options{})
			rec := r.aged(59 * day)
			c.lose(r, rec.ID)
			r.bus.failOn(events.TypeReauthorizationRequired)
			if err := r.keepAlive("due-1", rec.ID); err != nil {
				t.Errorf("error %v: the timer is set again, that is enough", err)
			}
			r.wantTimer(rec.ID, time.Minute, time.Hour)
			r.bus.failOn("")
			r.must(r.keepAlive("due-2", rec.ID))
			all := r.published(events.TypeReauthorizationRequired)
			if got := r.reasons(events.TypeReauthorizationRequired); !slices.Equal(got, []string{c.reason}) {
				t.Fatalf("reasons %v, want %s", got, c.reason)
			}
			if len(r.published(events.TypeFetchFailed)) != 0 {
				t.Error("a fetch failed that there was not")
			}
			after := r.record(rec.ID)
			if after.State != connection.ReauthorizationRequired || !after.KeepAliveAt.IsZero() || after.LastError.Reason != c.reason {
				t.Errorf("record %+v", after)
			}
			// The link works, and a fetch that finds out too says the same.
			r.change(rec.ID, func(x *connection.Record) { x.State = connection.Established })
			tokens, version, err := r.secrets.Get(t.Context(), rec.ID)
			if err == nil {
				tokens.AccessExpiresAt = time.Now()
				_, err = r.secrets.Put(t.Context(), rec.ID, tokens, version)
				r.must(err)
			}
			r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
			if again := r.published(events.TypeReauthorizationRequired); again[len(again)-1].ID != all[0].ID {
				t.Errorf("the fetch says it under another id")
			}
			r.must(r.CallbackReceived(t.Context(), event("renewed"), r.renew()))
			r.wantTimer(rec.ID, 57*day-time.Hour, 59*day)
		})
	}
}

// The broker takes no timer: the delivery must come back, or the chain ends.
func TestAKeepAliveWithoutItsNextTimerComesBack(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec := r.aged(59 * day)
	r.bus.failOn("keepalive")
	if err := r.keepAlive("due-1", rec.ID); !errors.Is(err, errBus) {
		t.Errorf("error %v, want %v", err, errBus)
	}
	r.bus.failOn("")
	r.must(r.keepAlive("due-1", rec.ID))
	r.wantTimer(rec.ID, 57*day-time.Hour, 59*day)
	if n := r.sandbox.Stats().Rotations; n != 1 {
		t.Errorf("%d rotations, want 1", n)
	}
}

func TestAnEndThatComesNearIsSaidOnce(t *testing.T) {
	for _, linkFails := range []bool{false, true} {
		r := newRig(t, finxtest.Options{})
		rec := r.aged(lifetime - 5*day)
		_, err := r.sandbox.AddFault(finxtest.Fault{Call: "token", Status: http.StatusServiceUnavailable})
		r.must(err)
		if linkFails {
			_, err := r.sandbox.AddFault(finxtest.Fault{Call: "*", Status: http.StatusServiceUnavailable})
			r.must(err)
		}
		r.must(r.keepAlive("due-1", rec.ID))
		r.wantTimer(rec.ID, 20*time.Minute, 40*time.Minute)
		r.must(r.keepAlive("due-2", rec.ID))
		all := r.published(events.TypeConnectionExpiring)
		if len(all) != 1 {
			t.Fatalf("%d warnings, want 1", len(all))
		}
		var data struct {
			What     string    `json:"what"`
			Expires  time.Time `json:"expires_at"`
			DaysLeft int       `json:"days_left"`
			Location string    `json:"location"`
		}
		r.must(json.Unmarshal(all[0].Data, &data))
		if data.What != events.WhatRefreshToken || data.DaysLeft != 4 || data.Expires.Sub(rec.RefreshObtainedAt.Add(lifetime)).Abs() > time.Second {
			t.Errorf("warning %+v", data)
		}
		if (data.Location == "") != linkFails {
			t.Errorf("link %q, finX makes links: %v", data.Location, !linkFails)
		}
		if linkFails {
			continue
		}
		// finX is back, and the user renews before the next try.
		r.sandbox.ClearFaults()
		back, err := r.sandbox.Approve(data.Location)
		r.must(err)
		r.must(r.CallbackReceived(t.Context(), event("renewed"), callbackOf(back)))
		if got := r.record(rec.ID); got.State != connection.Established || time.Since(got.RefreshObtainedAt) > time.Minute {
			t.Errorf("state %s, token of %s", got.State, got.RefreshObtainedAt)
		}
	}
}

// A lane whose slots wait for the rate is no lane: who would wait longer than a
// moment sets the timer again.
func TestATimerThatIsNotItsTurnDoesNotWait(t *testing.T) {
	r := newRig(t, finxtest.Options{}, func(c *flow.Config) { c.Background.Rate = 1.0 / 3600 })
	rec := r.aged(59 * day)
	r.must(r.keepAlive("due-1", rec.ID))
	r.change(rec.ID, func(c *connection.Record) { c.RefreshObtainedAt = time.Now().Add(-59 * day) })
	start := time.Now()
	r.must(r.keepAlive("due-2", rec.ID))
	if d := time.Since(start); d > time.Second {
		t.Errorf("it waited %s", d)
	}
	r.wantTimer(rec.ID, 20*time.Minute, 40*time.Minute)
	if n := r.sandbox.Stats().Rotations; n != 1 {
		t.Errorf("%d rotations, want the first", n)
	}
}

func TestBackgroundIsChecked(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	for name, spoil := range map[string]func(*flow.Background){
		"no custody":            func(b *flow.Background) { b.Keeping = nil },
		"no timers":             func(b *flow.Background) { b.Timers = nil },
		"no catalogue":          func(b *flow.Background) { b.Catalogue = nil },
		"no inventory":          func(b *flow.Background) { b.Inventory = nil },
		"lead above lifetime":   func(b *flow.Background) { b.Lead = b.Lifetime },
		"notice above lead":     func(b *flow.Background) { b.Notice = b.Lead },
		"no rate":               func(b *flow.Background) { b.Rate = 0 },
		"a negative sweep rate": func(b *flow.Background) { b.SweepRate = -1 },
	} {
		cfg, b := r.cfg, *r.cfg.Background
		spoil(&b)
		cfg.Background = &b
		if _, err := flow.New(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
