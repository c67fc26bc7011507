package telemetry

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/finx-connector/finx-connector/internal/line"
)

// sayAgain is how often the log says that spans are lost, for as long as they are.
const sayAgain = 5 * time.Minute

// outlet is the way of the spans out of the process: a bounded queue in front of
// OpenTelemetry's batches, and the exporter behind them. It counts what the SDK
// drops in silence, and says in the program's own log what the SDK would write to
// standard error.
type outlet struct {
	exporter sdktrace.SpanExporter
	batches  sdktrace.SpanProcessor
	metrics  *Metrics
	log      *slog.Logger
	hidden   *strings.Replacer // of what the log takes over from the endpoint's answers

	most    int64
	waiting atomic.Int64    // ended and not handed to the exporter
	working context.Context //nolint:containedctx // ends exports that nobody waits for any more
	cancel  context.CancelFunc

	mu     sync.Mutex
	said   time.Time // when the log last said that spans are lost
	unsaid int       // lost since
}

func newOutlet(ctx context.Context, exporter sdktrace.SpanExporter, queue int, c Config) *outlet {
	o := &outlet{exporter: exporter, most: int64(queue), metrics: c.Metrics, log: c.Logger, hidden: c.hidden()}
	o.working, o.cancel = context.WithCancel(context.WithoutCancel(ctx))
	// Never the first to be full: waiting counts what is in its batch as well.
	o.batches = sdktrace.NewBatchSpanProcessor(exportTo{o}, sdktrace.WithMaxQueueSize(queue))
	return o
}

func (o *outlet) processor() sdktrace.SpanProcessor { return queueOf{o} }

// queueOf is the outlet as the tracer sees it.
type queueOf struct{ *outlet }

// OnStart does nothing.
func (q queueOf) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd takes a span in, or drops it when too many wait: it never waits itself.
func (q queueOf) OnEnd(s sdktrace.ReadOnlySpan) {
	if q.waiting.Add(1) > q.most {
		q.waiting.Add(-1)
		q.lost(q.working, 1, dropQueueFull, nil)
		return
	}
	q.batches.OnEnd(s)
}

// Shutdown sends what waits.
func (q queueOf) Shutdown(ctx context.Context) error { return q.batches.Shutdown(ctx) }

// ForceFlush sends what waits, without ending.
func (q queueOf) ForceFlush(ctx context.Context) error { return q.batches.ForceFlush(ctx) }

// exportTo is the outlet as the batches see it.
type exportTo struct{ *outlet }

// ExportSpans sends a batch. What came of it is said here and nowhere else, so it
// reports no error.
func (e exportTo) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.waiting.Add(-int64(len(spans)))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	unhook := context.AfterFunc(e.working, cancel) //nolint:contextcheck // the end of the process, beside that of the export
	defer unhook()
	if err := e.exporter.ExportSpans(ctx, spans); err != nil {
		e.lost(ctx, len(spans), dropNotSent, err)
		return nil
	}
	e.metrics.sent(len(spans))
	return nil
}

// Shutdown closes the exporter.
func (e exportTo) Shutdown(ctx context.Context) error { return e.exporter.Shutdown(ctx) }

// lost counts spans that nobody will see, and says so once in a while.
func (o *outlet) lost(ctx context.Context, n int, reason string, err error) {
	o.metrics.dropped(n, reason)
	o.mu.Lock()
	o.unsaid += n
	if !o.said.IsZero() && time.Since(o.said) < sayAgain {
		o.mu.Unlock()
		return
	}
	n, o.unsaid, o.said = o.unsaid, 0, time.Now()
	o.mu.Unlock()
	attrs := []slog.Attr{slog.Int("spans", n), slog.String("reason", reason)}
	if err != nil {
		attrs = append(attrs, slog.String("error", line.Of(o.hidden.Replace(err.Error()), maxDescription)))
	}
	o.log.LogAttrs(ctx, slog.LevelWarn, "spans dropped", attrs...)
}
