package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Remote is a span of somebody else, or of another time, as W3C Trace Context writes
// it. The zero value is none, and so is what is not well-formed.
type Remote struct{ TraceParent, TraceState string }

// The names of its two parts in a message, whatever carries it.
const (
	traceParent = "traceparent"
	traceState  = "tracestate"
)

func (r Remote) context(ctx context.Context) trace.SpanContext {
	if r.TraceParent == "" {
		return trace.SpanContext{}
	}
	carrier := propagation.MapCarrier{traceParent: r.TraceParent, traceState: r.TraceState}
	ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{}) // which stays if there is nothing to be read
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(ctx, carrier))
}

// Carry returns what a message that is made under ctx is to carry: the span in ctx,
// recorded or not, and or while tracing is off.
func Carry(ctx context.Context, or Remote) Remote {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return or
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return Remote{TraceParent: carrier[traceParent], TraceState: carrier[traceState]}
}

// Origin says where a delivery comes from.
type Origin struct {
	// Upstream is the span that published the message.
	Upstream Remote
	// Apart begins a trace of its own, with a link to upstream's span.
	Apart bool
	// Again says that the message was delivered before: the span is below upstream's
	// like the one before it, and has a link to upstream's span too.
	Again bool
	// Earlier is the attempt before this one, as far as it is known. It is linked to.
	Earlier Remote
}

// Begin begins the span of a delivery, below upstream's or as the root of a trace.
// It is in the context also when it is not recorded, for events carry it on.
func (t *Tracer) Begin(ctx context.Context, name string, from Origin) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(consumer.otel())}
	upstream, earlier := from.Upstream.context(ctx), from.Earlier.context(ctx)
	if upstream.IsValid() && !from.Apart {
		ctx = trace.ContextWithRemoteSpanContext(ctx, upstream)
	} else {
		options = append(options, trace.WithNewRoot())
	}
	if upstream.IsValid() && (from.Apart || from.Again) {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: upstream}))
	}
	if earlier.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: earlier}))
	}
	ctx, s := t.tracer.Start(ctx, name, options...)
	if !s.IsRecording() {
		return ctx, Span{}
	}
	ctx, b := withBudget(ctx)
	return ctx, Span{span: s, delivery: b}
}
