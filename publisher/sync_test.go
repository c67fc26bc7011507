package publisher

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func request() events.SyncRequested {
	return events.SyncRequested{ConnectionID: connectionID, Trigger: events.TriggerSchedule, Reason: "sync interval"}
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
