package consumer

import (
	"context"
	"log/slog"
	"time"

	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// report writes the one line a delivery gets. It never holds data: what it says of
// the message and of the error comes out of the lane's Redact, but for a subject
// that has no room for data.
func (w *work) report(ctx context.Context, a Action, kept func() keepable, stored, said error) {
	level := levelOf(a.Outcome)
	if stored != nil || said != nil {
		level = max(level, slog.LevelWarn)
	}
	if !w.lane.log.Enabled(ctx, level) {
		return
	}
	subject := w.d.Subject
	if w.lane.Redact != nil && !w.isNameOnly(subject) {
		subject = kept().message.Subject
	}
	attrs := []slog.Attr{
		slog.String("subject", subject), slog.String("stream", w.d.Stream), slog.Uint64("sequence", w.d.Sequence),
		slog.Int("attempt", w.d.Attempt), slog.String("outcome", string(a.outcome())), slog.Duration("duration", time.Since(w.begun)),
	}
	if id := w.d.Message.TraceID(); id != "" && w.carry.TraceParent == "" {
		// While tracing is on, every line under ctx has the id of its trace anyway.
		attrs = append(attrs, slog.String(telemetry.KeyTraceID, id))
	}
	switch a.Outcome {
	case OutcomeDone, OutcomeShutdown: // neither has an error to tell
	case OutcomeBusy:
		attrs = append(attrs, slog.Duration("delay", a.Delay))
	case OutcomeRetry, OutcomeWaitUntil, OutcomeParked:
		attrs = append(attrs, slog.Duration("delay", a.Delay), slog.String("error", kept().line))
	case OutcomeDeadLetter:
		attrs = append(attrs, slog.String("class", string(a.Class)), slog.String("error", kept().line))
	case OutcomeNotStored:
		attrs = append(attrs, slog.String("error", kept().line))
	}
	if stored != nil {
		attrs = append(attrs, slog.String("store_error", oneLine(stored.Error())))
	}
	if said != nil {
		attrs = append(attrs, slog.String("answer_error", oneLine(said.Error())))
	}
	w.lane.log.LogAttrs(ctx, level, "delivery settled", attrs...)
}

// levelOf is how loud the line about a delivery is.
func levelOf(o Outcome) slog.Level {
	switch o {
	case OutcomeBusy: // of which there may be thousands
		return slog.LevelDebug
	case OutcomeRetry, OutcomeWaitUntil, OutcomeParked:
		return slog.LevelWarn
	case OutcomeDeadLetter, OutcomeNotStored:
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// isNameOnly reports whether a subject is the name of an event type and no more: a
// producer may put anything into further tokens, a code included.
func (w *work) isNameOnly(subject string) bool {
	codec := w.lane.cfg.Codec
	typ, ok := codec.TypeOf(subject)
	return ok && subject == codec.Subject(typ)
}
