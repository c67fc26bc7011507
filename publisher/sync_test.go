package publisher

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func timersStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: events.StreamTimers, Subjects: []string{"finx.timer.>", "finx.due.>"},
		AllowMsgSchedules: true, AllowMsgTTL: true, AllowRollup: true, Duplicates: 30 * time.Minute,
	}
}

func request() events.SyncRequested {
	return events.SyncRequested{ConnectionID: connectionID, Trigger: events.TriggerSchedule, Reason: "sync interval"}
}

func due(t *testing.T, js jetstream.JetStream) jetstream.Consumer {
	t.Helper()
	c, err := js.CreateConsumer(t.Context(), events.StreamTimers, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "finx.due.>",
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func next(t *testing.T, c jetstream.Consumer, wait time.Duration) jetstream.Msg {
	t.Helper()
	msg, err := c.Next(jetstream.FetchMaxWait(wait))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func parse(t *testing.T, msg jetstream.Msg) events.Envelope {
	t.Helper()
	e, err := events.Codec{}.Parse(events.Message{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data(), Time: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestRequestSync(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	s := createStream(t, js, jetstream.StreamConfig{Name: events.StreamRequests, Subjects: []string{"transactions.sync.requested"}})
	p := newPublisher(t, Config{JS: js})
	at := time.Date(2026, 2, 1, 8, 0, 0, 0, time.UTC)
	cause := events.Cause{ID: "callback-1", TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", TraceState: "v=1"}
	for range 2 {
		if err := p.RequestSync(t.Context(), "id-1", at, cause, request()); err != nil {
			t.Fatal(err)
		}
	}
	if n := stored(t, s); n != 1 {
		t.Fatalf("asked twice under one id, %d stored", n)
	}
	msg, err := s.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	e, err := events.Codec{}.Parse(events.Message{Subject: msg.Subject, Header: msg.Header, Data: msg.Data})
	if err != nil {
		t.Fatal(err)
	}
	r, err := events.DecodeSyncRequested(e)
	if err != nil || r != request() {
		t.Errorf("%+v, %v", r, err)
	}
	if e.ID != "id-1" || !e.Time.Equal(at) || e.CausationID != "callback-1" || e.TraceParent != cause.TraceParent || e.TraceState != "v=1" {
		t.Errorf("envelope %+v", e)
	}
	if got := msg.Header.Get(events.HeaderConnectionID); got != connectionID {
		t.Errorf("connection header %q", got)
	}
}

func TestScheduleFiresOnceAndIsReplaced(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	createStream(t, js, timersStream())
	p := newPublisher(t, Config{JS: js})
	c := due(t, js)
	at := time.Now().Add(3 * time.Second)
	for _, when := range []time.Time{time.Now().Add(time.Hour), at.Add(-time.Second), at} { // each replaces the one before
		if err := p.ScheduleSync(t.Context(), connectionID, when, request()); err != nil {
			t.Fatal(err)
		}
	}
	msg := next(t, c, 30*time.Second)
	now := time.Now()
	if now.Before(at) || now.After(at.Add(20*time.Second)) {
		t.Errorf("due at %v, want soon after %v", now, at)
	}
	if want := "finx.due.sync." + connectionID; msg.Subject() != want {
		t.Errorf("subject %s, want %s", msg.Subject(), want)
	}
	e := parse(t, msg)
	if r, err := events.DecodeSyncRequested(e); err != nil || r != request() {
		t.Errorf("%+v, %v", r, err)
	}
	if msg.Headers().Get(events.HeaderConnectionID) != connectionID || msg.Headers().Get("Nats-TTL") == "" {
		t.Errorf("headers %v", msg.Headers())
	}
	t.Logf("due %v after its time", now.Sub(at))
	if extra, err := c.Next(jetstream.FetchMaxWait(1500 * time.Millisecond)); err == nil {
		t.Errorf("a replaced timer fired as well: %s", extra.Data())
	}
}

func TestOverdueScheduleFiresAtOnce(t *testing.T) {
	srv := natstest.Start(t)
	js := natstest.JetStream(t, srv.URL())
	createStream(t, js, timersStream())
	p := newPublisher(t, Config{JS: js})
	c := due(t, js)
	if err := p.ScheduleSync(t.Context(), connectionID, time.Now().Add(-time.Hour), request()); err != nil {
		t.Fatal(err)
	}
	if msg := next(t, c, 10*time.Second); parse(t, msg).Type != events.TypeSyncRequested {
		t.Errorf("%s", msg.Data())
	}
}

// TestScheduleBackAndForth: setting a timer back to an earlier value within the
// duplicate window is a new wish, not a repeat of the old one.
func TestScheduleBackAndForth(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	s := createStream(t, js, timersStream())
	p := newPublisher(t, Config{JS: js})
	soon, late := time.Now().Add(2*time.Second), time.Now().Add(time.Hour)
	for _, at := range []time.Time{soon, late, soon} {
		if err := p.ScheduleSync(t.Context(), connectionID, at, request()); err != nil {
			t.Fatal(err)
		}
	}
	if n := stored(t, s); n != 1 {
		t.Errorf("%d timers", n)
	}
	next(t, due(t, js), 10*time.Second)
}

func TestCancelSchedule(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	s := createStream(t, js, timersStream())
	p := newPublisher(t, Config{JS: js})
	other := events.UUIDv5("other")
	for _, id := range []string{connectionID, other} {
		r := request()
		r.ConnectionID = id
		if err := p.ScheduleSync(t.Context(), id, time.Now().Add(2*time.Second), r); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := p.CancelSchedule(t.Context(), connectionID); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if n, err := p.CancelSchedule(t.Context(), connectionID); n != 0 || err != nil {
		t.Fatalf("again: %d, %v", n, err)
	}
	if n := stored(t, s); n != 1 {
		t.Errorf("%d timers left", n)
	}
	c := due(t, js)
	if msg := next(t, c, 10*time.Second); msg.Subject() != "finx.due.sync."+other {
		t.Errorf("%s fired", msg.Subject())
	}
	if _, err := c.Next(jetstream.FetchMaxWait(time.Second)); err == nil {
		t.Error("the cancelled timer fired")
	}
}

func TestCancelWithoutAStreamSaysSo(t *testing.T) {
	p := newPublisher(t, Config{JS: natstest.JetStream(t, natstest.Start(t).URL())})
	if _, err := p.CancelSchedule(t.Context(), connectionID); err == nil {
		t.Error("no error")
	}
}
