package publisher

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestMissingStreamIsNamedAndHeals(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	impatient := newPublisher(t, Config{JS: js, Timeout: 200 * time.Millisecond})
	_, err := impatient.Publish(t.Context(), output(1))
	if err == nil || !strings.Contains(err.Error(), "to stream FINX_EVENTS: no stream takes it") {
		t.Fatalf("error %v", err)
	}
	if fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.NATS || fault.IsAmbiguous(err) {
		t.Errorf("verdict %v of %v", fault.Of(err), err)
	}
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, Metrics: metrics})
	done := make(chan error, 1)
	go func() {
		_, err := p.Publish(t.Context(), output(1))
		done <- err
	}()
	natstest.Eventually(t, 10*time.Second, func() bool {
		return testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonNoStream))) > 0
	}, "the publisher waits for the stream")
	createStream(t, js, eventsStream())
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWrongStreamIsNotWrittenTo(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	other := createStream(t, js, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"connection.>"}})
	p := newPublisher(t, Config{JS: js, Timeout: 200 * time.Millisecond})
	_, err := p.Publish(t.Context(), output(1))
	if err == nil || !strings.Contains(err.Error(), "bound to another stream") || fault.Of(err) != fault.Retry {
		t.Errorf("error %v, verdict %v", err, fault.Of(err))
	}
	if n := stored(t, other); n != 0 {
		t.Errorf("%d events in the wrong stream", n)
	}
}

func TestFullStreamWaitsForRoom(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	cfg := eventsStream()
	cfg.MaxMsgs = 2
	s := createStream(t, js, cfg)
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, Metrics: metrics})
	p.fullWait = 50 * time.Millisecond
	for i := range 2 {
		if _, err := p.Publish(t.Context(), output(i)); err != nil {
			t.Fatal(err)
		}
	}
	impatient := newPublisher(t, Config{JS: js, Timeout: time.Second})
	_, err := impatient.Publish(t.Context(), output(2))
	until, ok := fault.Until(err)
	if !ok || time.Until(until) <= 0 || !strings.Contains(err.Error(), "stream FINX_EVENTS is full") {
		t.Errorf("error %v, until %v", err, until)
	}
	done := make(chan error, 1)
	go func() {
		_, err := p.Publish(t.Context(), output(2))
		done <- err
	}()
	natstest.Eventually(t, 10*time.Second, func() bool {
		return testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonStoreFull))) > 0
	}, "the publisher waits for room")
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRefusedUserIsNamed(t *testing.T) {
	srv := natstest.Start(t, natstest.WithOptions(func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "p"},
			{Username: "u", Password: "p", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{"$JS.API.>"}},
			}},
		}
	}))
	admin, err := jetstream.New(natstest.Connect(t, srv.URL(), nats.UserInfo("admin", "p")))
	if err != nil {
		t.Fatal(err)
	}
	createStream(t, admin, eventsStream())
	js, err := jetstream.New(natstest.Connect(t, srv.URL(), nats.UserInfo("u", "p"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})))
	if err != nil {
		t.Fatal(err)
	}
	p := newPublisher(t, Config{JS: js, Timeout: 100 * time.Millisecond, AttemptTimeout: 2 * time.Second})
	_, err = p.Publish(t.Context(), output(1))
	if err == nil || !strings.Contains(err.Error(), "the broker refuses this user to publish to connection.established") {
		t.Errorf("error %v", err)
	}
	if fault.Of(err) != fault.Retry || fault.IsAmbiguous(err) {
		t.Errorf("verdict %v, ambiguous %v", fault.Of(err), fault.IsAmbiguous(err))
	}
}

func TestCallersEndIsHonoured(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	p := newPublisher(t, Config{JS: js})
	stop := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(stop) })
	start := time.Now()
	_, err := p.Publish(ctx, output(1))
	if !errors.Is(err, stop) || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestTooLargeIsGivenUpAtOnce(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t, natstest.MaxPayload(64<<10)).URL())
	cfg := eventsStream()
	cfg.MaxMsgSize = 8 << 10
	createStream(t, js, cfg)
	p := newPublisher(t, Config{JS: js})
	for name, size := range map[string]int{"above max_payload": 70 << 10, "above max_msg_size": 16 << 10} {
		o := output(1)
		o.Data = []byte(`{"x":"` + strings.Repeat("x", size) + `"}`)
		start := time.Now()
		_, err := p.Publish(t.Context(), o)
		if fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Oversize {
			t.Errorf("%s: %v, verdict %v", name, err, fault.Of(err))
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s: given up after %v", name, took)
		}
	}
}
