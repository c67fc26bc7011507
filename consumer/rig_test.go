package consumer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

const (
	stream  = "FINX_CALLBACKS"
	durable = "finx-callbacks"
	subject = "callback.received"
	dlq     = "FINX_DLQ"
	soon    = time.Minute // on a machine that compiles beside it
)

func TestMain(m *testing.M) {
	if url := os.Getenv(child); url != "" {
		fmt.Fprintln(os.Stderr, "consumer: child of a test:", runChild(url))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// rig is a real server with one lane's stream and consumer and the stream of the
// dead letters.
type rig struct {
	*testing.T
	srv     *natstest.Server
	js      jetstream.JetStream // the test's own connection
	log     *logs
	reg     *prometheus.Registry
	metrics *consumer.Metrics // of all runs of the rig
	ackWait time.Duration
}

func newRig(t *testing.T, ackWait time.Duration, opts ...natstest.Option) *rig {
	t.Helper()
	srv := natstest.Start(t, opts...)
	r := &rig{T: t, srv: srv, js: natstest.JetStream(t, srv.URL()), log: &logs{}, reg: prometheus.NewRegistry(), ackWait: ackWait}
	r.addStream(stream, subject, subject+".>")
	r.addStream(dlq, "dlq.>")
	r.addConsumer()
	return r
}

func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(r.Context(), soon)
	r.Cleanup(cancel)
	return ctx
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) addStream(name string, subjects ...string) {
	r.Helper()
	_, err := r.js.CreateStream(r.ctx(), jetstream.StreamConfig{Name: name, Subjects: subjects})
	r.must(err)
}

func (r *rig) addConsumer() {
	r.Helper()
	_, err := r.js.CreateConsumer(r.ctx(), stream, jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: r.ackWait, MaxDeliver: -1,
	})
	r.must(err)
}

func (r *rig) publish(data string, header nats.Header) uint64 {
	r.Helper()
	ack, err := r.js.PublishMsg(r.ctx(), &nats.Msg{Subject: subject, Data: []byte(data), Header: header})
	r.must(err)
	return ack.Sequence
}

func (r *rig) acks() *natstest.AckLog {
	r.Helper()
	return natstest.RecordAcks(r.T, natstest.Connect(r.T, r.srv.URL()), stream, durable)
}

func (r *rig) info() *jetstream.ConsumerInfo {
	r.Helper()
	c, err := r.js.Consumer(r.ctx(), stream, durable)
	r.must(err)
	return c.CachedInfo()
}

func (r *rig) deadLetters() int {
	r.Helper()
	s, err := r.js.Stream(r.ctx(), dlq)
	r.must(err)
	return int(s.CachedInfo().State.Msgs)
}

func (r *rig) deadLetter(seq uint64) *jetstream.RawStreamMsg {
	r.Helper()
	s, err := r.js.Stream(r.ctx(), dlq)
	r.must(err)
	m, err := s.GetMsg(r.ctx(), seq)
	r.must(err)
	return m
}

func (r *rig) eventually(what string, cond func() bool) {
	r.Helper()
	natstest.Eventually(r.T, soon, cond, what)
}

// running is a Consumer under way.
type running struct {
	*consumer.Consumer
	r      *rig
	cancel context.CancelFunc
	done   chan error
}

// run starts a consumer with one lane on a connection of its own. It is stopped
// at the end of the test if the test has not done so.
func (r *rig) run(handle consumer.Handler, change ...func(*consumer.Config, *consumer.Lane)) *running {
	r.Helper()
	lane := consumer.Lane{
		Name: "callbacks", Stream: stream, Durable: durable, Slots: 4, Deadline: time.Minute, MaxAttempts: 3, Handle: handle,
	}
	cfg := consumer.Config{
		JS: natstest.JetStream(r.T, r.srv.URL()), DLQStream: dlq,
		Logger:     slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		RetryDelay: 20 * time.Millisecond, RetryDelayMax: 100 * time.Millisecond,
		DrainTimeout: 5 * time.Second,
	}
	if r.metrics == nil {
		r.metrics = consumer.NewMetrics(r.reg, lane.Name)
	}
	cfg.Metrics = r.metrics
	for _, f := range change {
		f(&cfg, &lane)
	}
	cfg.Lanes = append([]consumer.Lane{lane}, cfg.Lanes...)
	c, err := consumer.New(cfg)
	r.must(err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	run := &running{Consumer: c, r: r, cancel: cancel, done: make(chan error, 1)}
	go func() { run.done <- c.Run(ctx) }()
	r.Cleanup(run.stop)
	return run
}

// stop ends Run and waits for it.
func (run *running) stop() {
	run.r.Helper()
	run.cancel()
	select {
	case err := <-run.done:
		run.done <- nil
		if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			run.r.Errorf("run: %v", err)
		}
	case <-time.After(soon):
		run.r.Fatal("run does not return")
	}
}

func (run *running) lane() consumer.LaneStatus { return run.Status()[0] }

func (run *running) waitReady() {
	run.r.Helper()
	run.r.eventually("lane is ready", func() bool { return run.lane().Ready })
}

// waitWhy waits until the lane is blocked and says so in these words.
func (run *running) waitWhy(words string) {
	run.r.Helper()
	run.r.eventually("lane is blocked: "+words, func() bool {
		s := run.lane()
		return !s.Ready && strings.Contains(s.Why, words)
	})
}

// logs collects what slog writes, one JSON object a line.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// lines returns the lines with the given message.
func (l *logs) lines(t *testing.T, msg string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for raw := range strings.SplitSeq(strings.TrimSpace(l.String()), "\n") {
		if raw == "" {
			continue
		}
		var line map[string]any
		if err := json.Unmarshal([]byte(raw), &line); err != nil {
			t.Fatalf("log line %q: %v", raw, err)
		}
		if line["msg"] == msg {
			found = append(found, line)
		}
	}
	return found
}

// calls counts calls of a handler by sequence.
type calls struct {
	mu    sync.Mutex
	bySeq map[uint64]int
	total int
}

func (c *calls) add(d consumer.Delivery) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bySeq == nil {
		c.bySeq = map[uint64]int{}
	}
	c.bySeq[d.Sequence]++
	c.total++
	return c.bySeq[d.Sequence]
}

func (c *calls) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

func codec() events.Codec { return events.Codec{} }
