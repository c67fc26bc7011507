package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/line"
)

// Kind says on which side of a conversation a span is.
type Kind uint8

// The kinds.
const (
	Internal Kind = iota // a step of this process
	Client               // a call that waits for its answer
	Producer             // a message that is stored
	consumer             // a message that is handled: Tracer.Begin
)

func (k Kind) otel() trace.SpanKind {
	switch k {
	case Client:
		return trace.SpanKindClient
	case Producer:
		return trace.SpanKindProducer
	case consumer:
		return trace.SpanKindConsumer
	default:
		return trace.SpanKindInternal
	}
}

// Span is one step of a trace. The zero value is a span that is not made: its
// methods do nothing and cost next to nothing. It is for one goroutine.
type Span struct {
	span     trace.Span
	late     *late   // of a step that was left out
	delivery *budget // of the span that a Tracer began
}

// Start begins a span below the one in ctx, to be ended with End. Without one, or
// below one that is not recorded, nothing is made and ctx comes back as it is. name
// must be one of few.
func Start(ctx context.Context, kind Kind, name string) (context.Context, Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, Span{}
	}
	if b := budgetOf(ctx); !b.take(name) {
		return ctx, Span{late: &late{ctx: ctx, budget: b, name: name, kind: kind, begun: time.Now()}}
	}
	ctx, s := tracerOf(parent).Start(ctx, name, trace.WithSpanKind(kind.otel()))
	return ctx, Span{span: s}
}

func tracerOf(s trace.Span) trace.Tracer { return s.TracerProvider().Tracer(scope) }

// SpanOf is the span in ctx, for what is learned of it further down. It is ended by
// whoever began it.
func SpanOf(ctx context.Context) Span {
	if s := trace.SpanFromContext(ctx); s.IsRecording() {
		return Span{span: s}
	}
	return Span{}
}

// Record makes a span of a step that is over and began at that time.
func Record(ctx context.Context, kind Kind, name string, begun time.Time, err error) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return
	}
	b := budgetOf(ctx)
	if !b.take(name) && (err == nil || !b.takeFailed(name)) {
		return
	}
	_, s := tracerOf(parent).Start(ctx, name, trace.WithSpanKind(kind.otel()), trace.WithTimestamp(begun))
	Span{span: s}.End(err)
}

// noticed is how long somebody must wait for it to be worth a span.
const noticed = 5 * time.Millisecond

// Waiting is called before something is waited for and returns what is called
// after. A wait that somebody would notice becomes a span of that name.
func Waiting(ctx context.Context, name string) (over func(err error)) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return noWait
	}
	begun := time.Now()
	return func(err error) {
		if time.Since(begun) >= noticed {
			Record(ctx, Internal, name, begun, err)
		}
	}
}

func noWait(error) {}

// Recorded reports whether what is set on the span will be seen: for values that
// take work to find out.
func (s Span) Recorded() bool { return s.span != nil }

// Text sets an attribute; an empty value sets none.
func (s Span) Text(key, value string) {
	if s.span != nil && value != "" {
		s.span.SetAttributes(attribute.String(key, value))
	}
}

// Int sets an attribute.
func (s Span) Int(key string, value int) {
	if s.span != nil {
		s.span.SetAttributes(attribute.Int(key, value))
	}
}

// Flag sets an attribute if it is true.
func (s Span) Flag(key string, value bool) {
	if s.span != nil && value {
		s.span.SetAttributes(attribute.Bool(key, true))
	}
}

// Event notes that something happened at this moment, and why; err may be nil.
func (s Span) Event(name string, err error) {
	if s.span == nil {
		return
	}
	if err == nil {
		s.span.AddEvent(name)
		return
	}
	s.span.AddEvent(name, trace.WithAttributes(
		attribute.String(KeyErrorType, errorType(err)), attribute.String("error.message", line.Of(err.Error(), maxDescription)),
	))
}

// End ends the span; err is how the step ended. The text of an error is made for logs,
// without secrets, or it does not come here.
func (s Span) End(err error) {
	if s.late != nil {
		s = s.late.span(err)
	}
	if s.span == nil {
		return
	}
	if err != nil {
		s.Fail(errorType(err), err.Error())
	}
	if s.delivery != nil {
		if n := s.delivery.leftOut(); n > 0 {
			s.Int(KeyStepsLeftOut, n)
		}
	}
	s.span.End()
}

// Fail marks the step as failed, in words that the caller has made sure of.
func (s Span) Fail(kind, text string) {
	if s.span != nil {
		s.span.SetAttributes(attribute.String(KeyErrorType, kind))
		s.span.SetStatus(codes.Error, line.Of(text, maxDescription))
	}
}

// errorType names an error by what is to be done about it, and who is to blame.
func errorType(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case fault.Of(err) == fault.GiveUp:
		return fault.GiveUp.String() + "." + string(fault.ClassOf(err))
	}
	name := fault.Of(err).String()
	if fault.IsAmbiguous(err) {
		name = "ambiguous"
	}
	if dep := fault.DependencyOf(err); dep != "" {
		name += "." + string(dep)
	}
	return name
}
