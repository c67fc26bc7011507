package telemetry

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// A history of ten thousand pages must not become a trace of fifty thousand spans,
// which no backend shows and every backend bills. So of each name a delivery makes so
// many spans; after that only steps that fail make one, and of these as many again.
const (
	spansOfName    = 50
	failuresOfName = 50
)

// budget is what is left to the spans below one delivery. A nil budget is endless.
// It is safe for concurrent use.
type budget struct {
	mu      sync.Mutex
	made    map[string]int
	failed  map[string]int
	without int // steps without a span
}

type budgetKey struct{}

func withBudget(ctx context.Context) (context.Context, *budget) {
	b := &budget{made: map[string]int{}}
	return context.WithValue(ctx, budgetKey{}, b), b
}

func budgetOf(ctx context.Context) *budget {
	b, _ := ctx.Value(budgetKey{}).(*budget)
	return b
}

func (b *budget) take(name string) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.made[name] < spansOfName {
		b.made[name]++
		return true
	}
	b.without++
	return false
}

// takeFailed is take for a step that was left out and then failed.
func (b *budget) takeFailed(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed[name] >= failuresOfName {
		return false
	}
	if b.failed == nil {
		b.failed = map[string]int{}
	}
	b.failed[name]++
	b.without--
	return true
}

func (b *budget) leftOut() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.without
}

// late is a step that was left out. If it fails, its span is made after the fact.
type late struct {
	ctx    context.Context //nolint:containedctx // what the span is made below, if it is made
	budget *budget
	name   string
	kind   Kind
	begun  time.Time
}

func (l *late) span(err error) Span {
	parent := trace.SpanFromContext(l.ctx)
	if err == nil || !parent.IsRecording() || !l.budget.takeFailed(l.name) {
		return Span{}
	}
	_, s := tracerOf(parent).Start(l.ctx, l.name, trace.WithSpanKind(l.kind.otel()), trace.WithTimestamp(l.begun))
	return Span{span: s}
}
