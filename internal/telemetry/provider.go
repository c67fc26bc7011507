package telemetry

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// scope names what makes the spans.
const scope = "github.com/finx-connector/finx-connector"

// Tracer begins the trace of a delivery, or goes on with upstream's. A nil *Tracer
// makes none. It is safe for concurrent use.
type Tracer struct {
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider
	out      *outlet
}

// New returns the tracer of this process, nil when the configuration says that
// there are to be no traces. It does not speak to the endpoint.
func New(ctx context.Context, c Config) (*Tracer, error) {
	if c.Logger == nil {
		return nil, errNoLogger
	}
	p, err := c.plan()
	if err != nil || p.endpoint == "" {
		return nil, err
	}
	exporter, err := p.exporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("telemetry: configuring the exporter: %w", err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(
		attribute.String("service.name", c.Service),
		attribute.String("service.version", c.Version),
		attribute.String("service.instance.id", c.Instance),
	), resource.WithFromEnv()) // last, so that it wins
	if err != nil {
		return nil, fmt.Errorf("telemetry: configuring OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	out := newOutlet(ctx, exporter, p.queue, c)
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(p.sampler.sampler()),
		sdktrace.WithResource(about),
		sdktrace.WithSpanProcessor(out.processor()),
	)
	return &Tracer{
		tracer:   provider.Tracer(scope, trace.WithInstrumentationVersion(c.Version)),
		provider: provider, out: out,
	}, nil
}

func (p plan) exporter(ctx context.Context) (*otlptrace.Exporter, error) {
	if p.grpc {
		return otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(p.endpoint))
	}
	return otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(p.endpoint))
}

func (p samplerPlan) sampler() sdktrace.Sampler {
	var s sdktrace.Sampler
	switch p.ratio {
	case 0:
		s = sdktrace.NeverSample()
	case 1:
		s = sdktrace.AlwaysSample()
	default:
		s = sdktrace.TraceIDRatioBased(p.ratio)
	}
	if p.parentBased {
		s = sdktrace.ParentBased(s)
	}
	return s
}

// Stop sends what is left, until ctx ends at the latest; what has not been sent then
// is dropped and counted. Spans that end afterwards are not recorded.
func (t *Tracer) Stop(ctx context.Context) error {
	if t == nil {
		return nil
	}
	// An export under way does not look at ctx: it is ended with it.
	unhook := context.AfterFunc(ctx, t.out.cancel)
	defer unhook()
	err := t.provider.Shutdown(ctx)
	t.out.cancel()
	if err != nil {
		return fmt.Errorf("telemetry: sending the last spans: %w", err)
	}
	return nil
}

// StopWithin is how long Stop should be given: an endpoint that answers needs a
// fraction of it, and one that does not must not hold up the end of the process.
const StopWithin = 5 * time.Second
