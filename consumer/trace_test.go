package consumer_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/telemetry"
	"github.com/finx-connector/finx-connector/internal/telemetry/telemetrytest"
)

const (
	upstreamTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	upstreamSpan   = "00f067aa0ba902b7"
	upstreamParent = "00-" + upstreamTrace + "-" + upstreamSpan + "-01"
)

var toUpstream = telemetrytest.Link{TraceID: upstreamTrace, ID: upstreamSpan}

// tracing has the deliveries traced. collect ends that and returns the spans of the
// deliveries, in order.
func tracing(t *testing.T) (change func(*consumer.Config, *consumer.Lane), collect func() []telemetrytest.Span) {
	t.Helper()
	to := telemetrytest.Start(t)
	tracer, err := telemetry.New(t.Context(), telemetry.Config{
		Endpoint: to.URL, Getenv: func(string) string { return "" }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	collect = func() []telemetrytest.Span {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := tracer.Stop(ctx); err != nil {
			t.Error(err)
		}
		return slices.DeleteFunc(to.Spans(), func(s telemetrytest.Span) bool { return s.Kind != "SPAN_KIND_CONSUMER" })
	}
	t.Cleanup(func() { collect() })
	return func(c *consumer.Config, _ *consumer.Lane) {
		c.Tracer = tracer
		c.Logger = slog.New(telemetry.Handler(c.Logger.Handler()))
	}, collect
}

func traceparent() nats.Header { return nats.Header{"traceparent": {upstreamParent}} }

// What waits in the timers stream comes back into upstream's trace, linked to upstream
// and to the attempt that parked it, also when another process takes it up.
func TestParkedDeliveryStaysInItsTrace(t *testing.T) {
	r := newParkRig(t, 30*time.Second)
	acks := r.dueAcks()
	change, collect := tracing(t)
	r.publish("x", traceparent())
	first := r.run(func(context.Context, consumer.Delivery) error { return wait(longer) }, change, parking)
	r.eventually("it is parked", func() bool { return len(r.waiting(timers)) == 1 })
	first.stop()
	handle, _ := inOrder(nil)
	second := r.run(handle, change, parking)
	acks.WaitVerdicts(t, 1, soon)
	second.stop()
	all := collect()
	if len(all) != 2 {
		t.Fatalf("%d attempts, want 2: %+v", len(all), all)
	}
	parked, back := all[0], all[1]
	if parked.ParentID != upstreamSpan || parked.Attributes[telemetry.KeyOutcome] != "parked" || !parked.Failed {
		t.Errorf("the attempt that was parked: %+v", parked)
	}
	want := []telemetrytest.Link{toUpstream, {TraceID: parked.TraceID, ID: parked.ID}}
	if back.TraceID != upstreamTrace || back.ParentID != upstreamSpan || !slices.Equal(back.Links, want) || back.Failed {
		t.Errorf("the attempt that came back: %+v, want links %v", back, want)
	}
}

// Without a trace of upstream's, the attempts are roots, linked one to the other.
func TestAttemptsWithoutUpstreamAreLinked(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	change, collect := tracing(t)
	r.publish("x", nil)
	handle, _ := inOrder(errBoom, nil)
	running := r.run(handle, change)
	acks.WaitVerdicts(t, 2, soon)
	running.stop()
	all := collect()
	if len(all) != 2 || all[1].ParentID != "" || !slices.Equal(all[1].Links, []telemetrytest.Link{{TraceID: all[0].TraceID, ID: all[0].ID}}) {
		t.Errorf("attempts: %+v", all)
	}
}

// What the span says of a message that is given up is what the dead letter and the log
// say: no code, wherever upstream put it.
func TestSpanOfADeadLetterIsRedacted(t *testing.T) {
	const code = "c0de-4f1c7a90-5f02"
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	change, collect := tracing(t)
	data := fmt.Sprintf(`{"state":"s","success":true,"code":%q}`, code)
	if _, err := r.js.PublishMsg(r.ctx(), &nats.Msg{Subject: subject + "." + code, Data: []byte(data), Header: traceparent()}); err != nil {
		t.Fatal(err)
	}
	running := r.run(func(_ context.Context, d consumer.Delivery) error {
		return fault.Permanent(fault.Rejected, fmt.Errorf("step refused: %s", d.Data))
	}, change, func(_ *consumer.Config, l *consumer.Lane) { l.Redact = events.RedactCallback })
	acks.WaitVerdicts(t, 1, soon)
	running.stop()
	all := collect()
	if len(all) != 1 || !all[0].Failed || all[0].Attributes[telemetry.KeyDLQReason] != "rejected" {
		t.Fatalf("the span: %+v", all)
	}
	if text := fmt.Sprintf("%+v", all); strings.Contains(text, code) {
		t.Errorf("the code is in the span: %s", text)
	}
	if all[0].Attributes[telemetry.KeyDestination] != subject {
		t.Errorf("the destination is %q", all[0].Attributes[telemetry.KeyDestination])
	}
}

// A handler that panics leaves a span that says so.
func TestSpanOfAPanic(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	change, collect := tracing(t)
	r.publish("x", traceparent())
	var calls int
	running := r.run(func(context.Context, consumer.Delivery) error {
		if calls++; calls == 1 {
			panic("x")
		}
		return nil
	}, change)
	acks.WaitVerdicts(t, 2, soon)
	running.stop()
	all := collect()
	if len(all) != 2 || !strings.Contains(all[0].Description, "panic with a string") || all[0].Attributes[telemetry.KeyOutcome] != "retry" {
		t.Errorf("the spans: %+v", all)
	}
}

// The line of a delivery has the id of its trace, upstream's while tracing is off.
func TestLineHasTheTrace(t *testing.T) {
	for name, on := range map[string]bool{"off": false, "on": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 30*time.Second)
			acks := r.acks()
			change := func(*consumer.Config, *consumer.Lane) {}
			if on {
				change, _ = tracing(t)
			}
			r.publish("x", traceparent())
			handle, _ := inOrder(nil)
			running := r.run(handle, change)
			acks.WaitVerdicts(t, 1, soon)
			running.stop()
			if n := strings.Count(r.log.String(), `"trace_id":"`+upstreamTrace+`"`); n != 1 {
				t.Errorf("the log says it %d times:\n%s", n, r.log)
			}
		})
	}
}

// The handler gets an event that is to be carried on under the delivery's span.
func TestEventsCarryTheDeliverysSpan(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	change, collect := tracing(t)
	r.publish(`{"state":"s","success":false}`, traceparent())
	got := make(chan events.Cause, 1)
	running := r.run(consumer.On(events.Codec{}, events.DecodeCallbackReceived, func(_ context.Context, e events.Envelope, _ events.CallbackReceived) error {
		got <- e.Cause()
		return nil
	}), change)
	acks.WaitVerdicts(t, 1, soon)
	running.stop()
	all := collect()
	if cause := <-got; len(all) != 1 || cause.TraceParent != "00-"+upstreamTrace+"-"+all[0].ID+"-01" {
		t.Errorf("the event is carried on as %q, the span is %+v", cause.TraceParent, all)
	}
}
