package events_test

import (
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
)

func TestTimersKeepTheirPromises(t *testing.T) {
	c := events.Codec{Prefix: "acme"}
	berlin := time.FixedZone("CET", 3600)
	sync, err := events.NewSyncTimer(connectionID, at.In(berlin), events.SyncRequested{ConnectionID: connectionID, Trigger: events.TriggerSchedule})
	if err != nil {
		t.Fatal(err)
	}
	keepAlive, err := events.NewKeepAliveTimer(connectionID, at)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		timer           events.Timer
		waits, due, typ string
		id              string
	}{
		{sync, "finx.timer.sync.", "finx.due.sync.", events.TypeSyncRequested, events.UUIDv5("timer", connectionID, "2026-11-22T16:30:02Z")},
		{keepAlive, "finx.timer.keepalive.", "finx.due.keepalive.", events.TypeKeepAliveDue, events.UUIDv5("keepalive", connectionID, "2026-11-22T16:30:02Z")},
	} {
		if tc.timer.WaitsOn != tc.waits+connectionID || tc.timer.DueOn != tc.due+connectionID || tc.timer.ConnectionID != connectionID {
			t.Errorf("%+v", tc.timer)
		}
		if want := at.Add(750 * time.Millisecond); !tc.timer.At.Equal(want) || tc.timer.At.Location() != time.UTC {
			t.Errorf("%s: due at %v, want %v", tc.typ, tc.timer.At, want)
		}
		for _, subject := range []string{tc.timer.WaitsOn, tc.timer.DueOn} {
			e, err := c.Parse(events.Message{Subject: c.Subject(subject), Data: tc.timer.Body})
			if err != nil {
				t.Fatal(err)
			}
			if e.ID != tc.id || e.Type != tc.typ || !e.Time.Equal(tc.timer.At) {
				t.Errorf("%s: %+v, want id %s", subject, e, tc.id)
			}
		}
	}
}

func TestAWholeSecondIsNotRounded(t *testing.T) {
	whole := at.Truncate(time.Second)
	for in, want := range map[time.Duration]time.Duration{0: 0, time.Nanosecond: time.Second, time.Second - time.Nanosecond: time.Second, -time.Nanosecond: 0} {
		timer, err := events.NewKeepAliveTimer(connectionID, whole.Add(in))
		if err != nil || !timer.At.Equal(whole.Add(want)) {
			t.Errorf("%v after the second: %v, %v", in, timer.At, err)
		}
	}
}

func TestATimerThatCouldNotBeReadIsNotMade(t *testing.T) {
	_, err := events.NewKeepAliveTimer("x.>", at)
	wantField(t, err, "connection_id")
	_, err = events.NewSyncTimer(connectionID, at, events.SyncRequested{})
	wantField(t, err, "connection_id")
}
