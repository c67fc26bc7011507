package publisher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
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

// TestLeaderKilled publishes from several goroutines while the node that leads
// the stream goes away, and again while its successor does.
func TestLeaderKilled(t *testing.T) {
	cluster := natstest.Cluster(t, 3)
	js := natstest.JetStream(t, cluster.URL())
	cfg := eventsStream()
	cfg.Replicas = 3
	s := createStream(t, js, cfg)
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, Metrics: metrics})
	const each, workers = 400, 4
	var mu sync.Mutex
	acked := map[string]bool{}
	half := make(chan struct{})
	var once, wg = sync.Once{}, sync.WaitGroup{}
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				o := output(w*each + i)
				if _, err := p.Publish(t.Context(), o); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acked[o.ID] = true
				mu.Unlock()
				if i == each/4 {
					once.Do(func() { close(half) })
				}
			}
		})
	}
	<-half
	leader := cluster.StreamLeader(events.StreamEvents)
	cluster.Kill(leader)
	natstest.WaitStreamLeader(t, js, events.StreamEvents)
	wg.Wait()
	cluster.Restart(leader)
	if len(acked) != each*workers {
		t.Fatalf("%d of %d acked", len(acked), each*workers)
	}
	natstest.Eventually(t, 30*time.Second, func() bool {
		info, err := s.Info(context.WithoutCancel(t.Context()))
		return err == nil && info.State.Msgs == each*workers
	}, "every acked event is stored once")
	retries := 0.0
	for _, r := range reasons() {
		n := testutil.ToFloat64(metrics.retries.WithLabelValues(string(r)))
		if n > 0 {
			t.Logf("%v repeats for %s", n, r)
		}
		retries += n
	}
	t.Logf("%d acked, %v repeats, %v duplicates", len(acked), retries,
		testutil.ToFloat64(metrics.events.WithLabelValues(events.TypeConnectionEstablished, "duplicate")))
	if retries == 0 {
		t.Error("the kill went unnoticed: the test shows nothing")
	}
}

// TestLateAckIsADuplicate stops the broker's process in mid-air: the first
// attempt runs out of time, is stored all the same when the broker goes on, and
// the repeat must find it.
func TestLateAckIsADuplicate(t *testing.T) {
	broker := natstest.ExternalProcess(t)
	js := natstest.JetStream(t, broker.URL())
	s := createStream(t, js, eventsStream())
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, AttemptTimeout: 200 * time.Millisecond, Metrics: metrics})
	broker.Pause()
	type result struct {
		receipt Receipt
		err     error
	}
	done := make(chan result, 1)
	go func() {
		r, err := p.Publish(t.Context(), output(1))
		done <- result{r, err}
	}()
	natstest.Eventually(t, 10*time.Second, func() bool {
		return testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonTimeout))) > 0
	}, "the first attempt ran out of time")
	broker.Resume()
	if r := <-done; r.err != nil || !r.receipt.Duplicate || r.receipt.Sequence != 1 {
		t.Errorf("%+v, %v", r.receipt, r.err)
	}
	if n := stored(t, s); n != 1 {
		t.Errorf("%d stored", n)
	}
	if n := testutil.ToFloat64(metrics.events.WithLabelValues(events.TypeConnectionEstablished, "duplicate")); n != 1 {
		t.Errorf("%v duplicates counted", n)
	}
}

// TestBrokerKilledAndBack: an event published while the broker is down is
// stored when it is back, and one acked before the SIGKILL is still there.
func TestBrokerKilledAndBack(t *testing.T) {
	broker := natstest.ExternalProcess(t)
	js := natstest.JetStream(t, broker.URL())
	s := createStream(t, js, eventsStream())
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, AttemptTimeout: time.Second, Metrics: metrics})
	if _, err := p.Publish(t.Context(), output(1)); err != nil {
		t.Fatal(err)
	}
	broker.Kill()
	done := make(chan error, 1)
	go func() {
		_, err := p.Publish(t.Context(), output(2))
		done <- err
	}()
	natstest.Eventually(t, 20*time.Second, func() bool {
		return testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonDisconnected)))+
			testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonTimeout))) > 0
	}, "the publisher waits for the broker")
	broker.Start()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := stored(t, s); n != 2 {
		t.Errorf("%d stored", n)
	}
}

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
	p := newPublisher(t, Config{JS: js, Timeout: 100 * time.Millisecond, AttemptTimeout: 200 * time.Millisecond})
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
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: given up after %v", name, took)
		}
	}
}
