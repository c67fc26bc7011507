package publisher

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	connectionID = "5b0a7a5e-6a57-5c8e-9d5b-1f3d1c9a2b4e"
	userID       = "user-1"
)

func newPublisher(t testing.TB, cfg Config) *Publisher {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func createStream(t testing.TB, js jetstream.JetStream, cfg jetstream.StreamConfig) jetstream.Stream {
	t.Helper()
	s, err := js.CreateStream(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func eventsStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: events.StreamEvents, Subjects: []string{"connection.>", "transactions.>", "widget.>"},
		Discard: jetstream.DiscardNew, Duplicates: 30 * time.Minute, AllowDirect: true,
	}
}

func output(n int) events.Output {
	return events.NewConnectionEstablished(events.Cause{ID: fmt.Sprint(n)}, events.ConnectionEstablished{
		ConnectionID: connectionID, UserID: userID, State: fmt.Sprint(n),
	})
}

func stored(t testing.TB, s jetstream.Stream) uint64 {
	t.Helper()
	info, err := s.Info(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

func TestPublish(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	createStream(t, js, jetstream.StreamConfig{Name: events.StreamEvents, Subjects: []string{"acme.>"}})
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, Codec: events.Codec{Prefix: "acme"}, PerConnection: true, Metrics: metrics})
	o := output(1)
	o.TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	first, err := p.Publish(t.Context(), o)
	if err != nil || first != (Receipt{Stream: events.StreamEvents, Sequence: 1}) {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := p.Publish(t.Context(), o)
	if err != nil || again != (Receipt{Stream: events.StreamEvents, Sequence: 1, Duplicate: true}) {
		t.Fatalf("again: %+v, %v", again, err)
	}
	s, err := js.Stream(t.Context(), events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := s.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if want := "acme.connection.established." + connectionID; msg.Subject != want {
		t.Errorf("subject %s, want %s", msg.Subject, want)
	}
	if string(msg.Data) != string(o.AppendJSON(nil)) {
		t.Errorf("stored %s", msg.Data)
	}
	for name, want := range map[string]string{
		"Nats-Msg-Id": o.ID, "Content-Type": "application/cloudevents+json", "traceparent": o.TraceParent,
		events.HeaderConnectionID: connectionID, "Nats-Expected-Stream": events.StreamEvents,
	} {
		if got := msg.Header[name]; len(got) != 1 || got[0] != want {
			t.Errorf("header %s: %q, want %q", name, got, want)
		}
	}
	if n := testutil.ToFloat64(metrics.events.WithLabelValues(o.Type, "stored")); n != 1 {
		t.Errorf("%v stored", n)
	}
	if n := testutil.ToFloat64(metrics.events.WithLabelValues(o.Type, "duplicate")); n != 1 {
		t.Errorf("%v duplicates", n)
	}
}
