package consumer

import (
	"context"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// trace begins the span of the delivery. What is delivered for the first time goes on
// with upstream's trace. So does a redelivery, however late, with links to upstream's
// span and to the attempt before: whoever looks up upstream's trace at night sees every
// attempt, and the decision to record them is one. A replay, and a timer that was set
// hours ago, begin traces of their own with a link.
func (w *work) trace(ctx context.Context) context.Context {
	l := w.lane
	if l.cfg.Tracer == nil {
		return ctx
	}
	origin := l.cfg.Codec.OriginOf(w.d.Message)
	typ, known := l.cfg.Codec.TypeOf(w.d.Subject)
	name := "process"
	if known {
		name += " " + typ
	}
	ctx, w.span = l.cfg.Tracer.Begin(ctx, name, telemetry.Origin{
		Upstream: telemetry.Remote{TraceParent: origin.TraceParent, TraceState: origin.TraceState},
		Apart:    origin.Replayed || l.Parked, // what that lane handles itself are timers
		Again:    w.delivered > 1 || w.from != l,
		Earlier:  w.earlier,
	})
	// It is not w.span that is carried on: one that is not recorded has an id too.
	w.carry = telemetry.Carry(ctx, telemetry.Remote{})
	if !w.span.Recorded() {
		return ctx
	}
	w.span.Text(telemetry.KeyMessaging, telemetry.Messaging)
	w.span.Text(telemetry.KeyOperation, "process")
	w.span.Text(telemetry.KeyOperationType, "process")
	// Of the subject only the type's: a producer may put anything into further tokens.
	if known {
		w.span.Text(telemetry.KeyDestination, l.cfg.Codec.Subject(typ))
	}
	w.span.Text(telemetry.KeyConsumerGroup, l.Durable)
	w.span.Text(telemetry.KeyStream, w.d.Stream)
	w.span.Int(telemetry.KeySequence, int(w.d.Sequence)) //nolint:gosec // sequences stay far below the limit
	w.span.Int(telemetry.KeyBodySize, len(w.d.Data))
	w.span.Int(telemetry.KeyAttempt, w.d.Attempt)
	w.span.Int(telemetry.KeyDelivered, w.delivered)
	w.span.Flag(telemetry.KeyReplay, origin.Replayed)
	return ctx
}

// endSpan ends the span with what became of the delivery. The words of an error are
// those that the log has.
func (w *work) endSpan(a Action, kept func() keepable) {
	if !w.span.Recorded() {
		return
	}
	w.span.Text(telemetry.KeyOutcome, string(a.outcome()))
	switch a.Outcome {
	case OutcomeDone, OutcomeShutdown, OutcomeBusy:
	case OutcomeDeadLetter:
		w.span.Text(telemetry.KeyDLQReason, string(a.Class))
		w.span.Fail(string(a.Class), kept().line)
	default:
		w.span.Int(telemetry.KeyDelay, int(a.Delay.Milliseconds()))
		w.span.Fail(string(a.Outcome), kept().line)
	}
	w.span.End(nil)
}

// carryOn makes this delivery's span what the events that e causes go on from. While
// tracing is off they go on from upstream's.
func carryOn(ctx context.Context, e events.Envelope) events.Envelope {
	on := telemetry.Carry(ctx, telemetry.Remote{TraceParent: e.TraceParent, TraceState: e.TraceState})
	e.TraceParent, e.TraceState = on.TraceParent, on.TraceState
	return e
}
