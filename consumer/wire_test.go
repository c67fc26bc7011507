package consumer_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

var errBoom = errors.New("flow: handling: boom")

// between is a range of delays.
type between struct{ min, max time.Duration }

// wireCase is a handler and what must be seen of it from outside.
type wireCase struct {
	handle  consumer.Handler
	body    string // "+ACK", "-NAK" or "+TERM …"
	delay   between
	level   string
	outcome consumer.Outcome
	dead    int
}

// TestEveryVerdictOnTheWire reads what the server is told for what a handler
// returns: the answer to the first delivery, its log line and its count.
func TestEveryVerdictOnTheWire(t *testing.T) {
	tests := map[string]wireCase{
		"done": {
			func(context.Context, consumer.Delivery) error { return nil },
			"+ACK",
			between{},
			"INFO", consumer.OutcomeDone, 0,
		},
		"retry": {
			func(context.Context, consumer.Delivery) error { return fault.Transient(fault.FinX, errBoom) },
			"-NAK",
			between{5 * time.Second, 10 * time.Second},
			"WARN", consumer.OutcomeRetry, 0,
		},
		"ambiguous": {
			func(context.Context, consumer.Delivery) error { return fault.Ambiguous(fault.FinX, errBoom) },
			"-NAK",
			between{5 * time.Second, 10 * time.Second},
			"WARN", consumer.OutcomeRetry, 0,
		},
		"unjudged": {
			func(context.Context, consumer.Delivery) error { return errBoom },
			"-NAK",
			between{5 * time.Second, 10 * time.Second},
			"WARN", consumer.OutcomeRetry, 0,
		},
		"wait until": {
			func(context.Context, consumer.Delivery) error {
				return fault.Throttled(fault.FinX, time.Now().Add(time.Minute), errBoom)
			},
			"-NAK",
			between{55 * time.Second, 66 * time.Second},
			"WARN", consumer.OutcomeWaitUntil, 0,
		},
		"wait until long after": {
			func(context.Context, consumer.Delivery) error {
				return fault.Throttled(fault.FinX, time.Now().Add(6*time.Hour), errBoom)
			},
			"-NAK",
			between{15 * time.Minute, 15 * time.Minute},
			"WARN", consumer.OutcomeWaitUntil, 0,
		},
		"give up": {
			func(context.Context, consumer.Delivery) error { return fault.Permanent(fault.UnknownState, errBoom) },
			"+TERM unknown_state",
			between{},
			"ERROR", consumer.OutcomeDeadLetter, 1,
		},
		"panic": {
			func(context.Context, consumer.Delivery) error { panic("s3cret") },
			"-NAK",
			between{5 * time.Second, 10 * time.Second},
			"WARN", consumer.OutcomeRetry, 0,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 30*time.Second)
			acks := r.acks()
			seq := r.publish("s3cret", nil)
			r.run(tc.handle, func(c *consumer.Config, _ *consumer.Lane) {
				c.RetryDelay, c.RetryDelayMax = 10*time.Second, time.Minute
			})
			tc.check(t, r, acks, seq)
		})
	}
}

// check compares the answer to the first delivery, its log line and its count.
func (tc wireCase) check(t *testing.T, r *rig, acks *natstest.AckLog, seq uint64) {
	t.Helper()
	got := acks.WaitVerdicts(t, 1, soon)[0]
	if got.Sequence != seq || got.Delivered != 1 {
		t.Errorf("answer to sequence %d, delivery %d, want %d and 1", got.Sequence, got.Delivered, seq)
	}
	body, delay := splitNak(t, got)
	if body != tc.body || delay < tc.delay.min || delay > tc.delay.max {
		t.Errorf("answer %q with delay %s, want %q within %v", body, delay, tc.body, tc.delay)
	}
	if got.Confirmed != (tc.outcome == consumer.OutcomeDone) {
		t.Errorf("confirmed by the server: %t; an acknowledgement must be, nothing else can be", got.Confirmed)
	}
	r.eventually("log line", func() bool { return len(r.log.lines(t, "delivery settled")) == 1 })
	line := r.log.lines(t, "delivery settled")[0]
	if line["level"] != tc.level || line["outcome"] != string(tc.outcome) || line["lane"] != "callbacks" ||
		line["subject"] != subject || line["stream"] != stream || line["sequence"] != float64(seq) || line["attempt"] != 1.0 {
		t.Errorf("log line %v", line)
	}
	if strings.Contains(r.log.String(), "s3cret") {
		t.Errorf("data in the log: %s", r.log)
	}
	if n := r.deadLetters(); n != tc.dead {
		t.Errorf("%d dead letters, want %d", n, tc.dead)
	}
	if n := testutil.CollectAndCount(r.reg, "finx_connector_consumer_settled_total"); n != 8 {
		t.Errorf("%d outcomes in the metrics, want all 8 from the start", n)
	}
	if got := metric(t, r, "settled_total", map[string]string{"outcome": string(tc.outcome)}); got != 1 {
		t.Errorf("settled_total{outcome=%q} is %v, want 1", tc.outcome, got)
	}
}

// splitNak takes the delay out of a -NAK. One without a delay fails the test: it
// would be redelivered at once.
func splitNak(t *testing.T, a natstest.Ack) (string, time.Duration) {
	t.Helper()
	raw, isNak := strings.CutPrefix(a.Body, "-NAK")
	if !isNak {
		return a.Body, 0
	}
	var opts struct{ Delay time.Duration }
	if err := json.Unmarshal([]byte(raw), &opts); err != nil || opts.Delay <= 0 {
		t.Fatalf("bare nak on the wire: %q", a.Body)
	}
	return "-NAK", opts.Delay
}

// ended reports whether the last answer so far is this one.
func ended(acks *natstest.AckLog, body string) func() bool {
	return func() bool {
		v := acks.Verdicts()
		return len(v) > 0 && v[len(v)-1].Body == body
	}
}

// metric reads one counter or gauge of the rig's registry.
func metric(t *testing.T, r *rig, name string, labels map[string]string) float64 {
	t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "finx_connector_consumer_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			matched := 0
			for _, l := range m.GetLabel() {
				if want, ok := labels[l.GetName()]; ok && want == l.GetValue() {
					matched++
				}
			}
			if matched == len(labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s%v", name, labels)
	return 0
}

func TestAttemptsRunOut(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	r.publish("x", nil)
	var seen calls
	r.run(func(_ context.Context, d consumer.Delivery) error {
		if n := seen.add(d); n != d.Attempt {
			t.Errorf("attempt %d on call %d", d.Attempt, n)
		}
		return errBoom
	})
	got := acks.WaitVerdicts(t, 3, soon)
	for i, a := range got {
		body, _ := splitNak(t, a)
		if want := []string{"-NAK", "-NAK", "+TERM exhausted"}[i]; body != want {
			t.Errorf("answer %d is %q, want %q", i+1, body, want)
		}
	}
	if h := r.deadLetter(1).Header; h.Get(consumer.HeaderAttempts) != "3" || h.Get(consumer.HeaderReason) != "exhausted" {
		t.Errorf("dead letter with %v", h)
	}
}

func TestWaitsAndOutagesAreNoAttempts(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	r.publish("x", nil)
	var seen calls
	r.run(func(_ context.Context, d consumer.Delivery) error {
		switch n := seen.add(d); {
		case n <= 2:
			return fault.Throttled(fault.FinX, time.Now(), errBoom)
		case n <= 6:
			return fault.Transient(fault.Vault, errBoom)
		case d.Attempt != n-6:
			t.Errorf("attempt %d on call %d, want %d", d.Attempt, n, n-6)
		}
		if d.Attempt < 3 {
			return errBoom
		}
		return nil
	})
	got := acks.WaitVerdicts(t, 9, soon)
	if last := got[len(got)-1]; last.Body != "+ACK" || len(got) != 9 {
		t.Errorf("%d answers, the last %q, want nine with +ACK", len(got), last.Body)
	}
	if n := r.deadLetters(); n != 0 {
		t.Errorf("%d dead letters, want none", n)
	}
}

func TestOutageEndsByTheClock(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	r.publish("x", nil)
	r.run(func(context.Context, consumer.Delivery) error { return fault.Transient(fault.FinX, errBoom) },
		func(c *consumer.Config, _ *consumer.Lane) { c.OutageAfter = 300 * time.Millisecond })
	r.eventually("dead letter", func() bool { return r.deadLetters() == 1 })
	r.eventually("terminated", ended(acks, "+TERM outage"))
	if reason := r.deadLetter(1).Header.Get(consumer.HeaderReason); reason != "outage" {
		t.Errorf("reason %q, want outage", reason)
	}
}

func TestPanicIsAnAttempt(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	r.publish("x", nil)
	r.run(func(_ context.Context, d consumer.Delivery) error {
		if d.Attempt == 1 {
			panic(errors.New("tok-s3cret"))
		}
		_ = d.Data[d.Attempt] // one byte long
		return nil
	})
	got := acks.WaitVerdicts(t, 3, soon)
	if got[2].Body != "+TERM exhausted" {
		t.Errorf("last answer %q, want +TERM exhausted", got[2].Body)
	}
	h := r.deadLetter(1).Header
	if text := h.Get(consumer.HeaderError); !strings.Contains(text, "index out of range") {
		t.Errorf("error %q, want the runtime's text", text)
	}
	lines := r.log.lines(t, "handler panicked")
	if len(lines) != 3 || lines[0]["level"] != "ERROR" || !strings.Contains(lines[0]["stack"].(string), "TestPanicIsAnAttempt") {
		t.Errorf("log lines %v, want three errors with a stack", lines)
	}
	if strings.Contains(r.log.String(), "s3cret") {
		t.Error("the value of a panic is in the log")
	}
	if metric(t, r, "panics_total", nil) != 3 {
		t.Error("panics_total is not 3")
	}
}
