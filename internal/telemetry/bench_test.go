package telemetry_test

import (
	"context"
	"errors"
	"testing"

	"github.com/finx-connector/finx-connector/internal/telemetry"
	"github.com/finx-connector/finx-connector/internal/telemetry/telemetrytest"
)

type key int

// deep is a context as a handler has it: a dozen values and deadlines above it.
func deep(ctx context.Context) context.Context {
	for i := range 12 {
		ctx = context.WithValue(ctx, key(i), i) //nolint:fatcontext // that is what it is about
	}
	return ctx
}

func step(ctx context.Context, err error) {
	_, s := telemetry.Start(ctx, telemetry.Client, "finx.transactions")
	s.Text(telemetry.KeyMethod, "GET")
	s.Int(telemetry.KeyStatus, 200)
	s.End(err)
}

func BenchmarkStepOff(b *testing.B) {
	ctx := deep(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		step(ctx, nil)
	}
}

func BenchmarkStepOn(b *testing.B) {
	tracer := newTracer(b, config(telemetrytest.Start(b).URL, nil))
	b.ReportAllocs()
	for b.Loop() {
		ctx, s := tracer.Begin(b.Context(), "process x", telemetry.Origin{})
		step(deep(ctx), nil)
		s.End(nil)
	}
}

func TestOffCostsNoMemory(t *testing.T) {
	ctx, err := deep(t.Context()), errors.New("x")
	if n := testing.AllocsPerRun(1000, func() { step(ctx, err) }); n != 0 {
		t.Errorf("%v allocations a step while tracing is off", n)
	}
}
