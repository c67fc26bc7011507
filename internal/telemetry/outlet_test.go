package telemetry_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/finx-connector/finx-connector/internal/telemetry"
	"github.com/finx-connector/finx-connector/internal/telemetry/telemetrytest"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// total is the value of a counter, over all its labels or with that label value.
func total(t *testing.T, reg *prometheus.Registry, name, label string) (n float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

const (
	metricExported = "finx_connector_telemetry_spans_exported_total"
	metricDropped  = "finx_connector_telemetry_spans_dropped_total"
)

func spans(ctx context.Context, tracer *telemetry.Tracer, n int) {
	for range n {
		_, s := tracer.Begin(ctx, "process x", telemetry.Origin{})
		s.End(nil)
	}
}

// An endpoint that hangs holds nobody up: not the work, and not the end of the
// process. Every span is sent or counted.
func TestAnEndpointThatHangs(t *testing.T) {
	to := telemetrytest.Start(t)
	release := make(chan struct{})
	defer close(release)
	to.Answer(func(_ http.ResponseWriter, req *http.Request) bool {
		select {
		case <-release:
		case <-req.Context().Done():
		}
		return true
	})
	reg, log := prometheus.NewRegistry(), &lines{}
	c := config(to.URL, map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "1000"})
	c.Metrics, c.Logger = telemetry.NewMetrics(reg), slog.New(slog.NewTextHandler(log, nil))
	tracer := newTracer(t, c)

	begun := time.Now()
	spans(t.Context(), tracer, 5000)
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("5000 spans took %s", took)
	}
	if n := total(t, reg, metricDropped, "queue_full"); n < 2000 {
		t.Errorf("%v spans dropped before the queue", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun = time.Now()
	if err := tracer.Stop(ctx); err == nil {
		t.Error("stopping says nothing of the spans it leaves")
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
	eventually(t, func() bool { return total(t, reg, metricDropped, "") == 5000 })
	if n := strings.Count(log.String(), "spans dropped"); n != 1 {
		t.Errorf("the log says it %d times:\n%s", n, log.String())
	}
}

func TestAnEndpointThatRefuses(t *testing.T) {
	for name, endpoint := range map[string]func(t *testing.T) string{
		"nobody there": func(t *testing.T) string {
			s := httptest.NewServer(nil)
			defer s.Close()
			return s.URL
		},
		"not allowed": func(t *testing.T) string {
			to := telemetrytest.Start(t)
			to.Answer(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true })
			return to.URL
		},
	} {
		t.Run(name, func(t *testing.T) {
			reg, log := prometheus.NewRegistry(), &lines{}
			c := config(endpoint(t), nil)
			c.Metrics, c.Logger = telemetry.NewMetrics(reg), slog.New(slog.NewTextHandler(log, nil))
			tracer := newTracer(t, c)
			spans(t.Context(), tracer, 100)
			stop(t, tracer)
			if n := total(t, reg, metricDropped, "not_sent"); n != 100 {
				t.Errorf("%v spans counted, want 100", n)
			}
			if !strings.Contains(log.String(), "reason=not_sent") || !strings.Contains(log.String(), "error=") {
				t.Errorf("the log says:\n%s", log.String())
			}
		})
	}
}

// A gateway's page about a request it refuses quotes the key that was sent.
func TestAnEndpointThatQuotesItsKey(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20canary-otlp-1,x-key=canary/otlp=2")
	to := telemetrytest.Start(t)
	to.Answer(func(w http.ResponseWriter, req *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, "refused: ", req.Header)
		return true
	})
	log := &lines{}
	c := config(to.URL, nil)
	c.Getenv, c.Logger = nil, slog.New(slog.NewTextHandler(log, nil))
	tracer := newTracer(t, c)
	spans(t.Context(), tracer, 1)
	stop(t, tracer)
	if text := log.String(); !strings.Contains(text, "refused: ") || strings.Contains(text, "canary") {
		t.Errorf("the log says:\n%s", text)
	}
}

func TestSpansInSeveralBatches(t *testing.T) {
	to := telemetrytest.Start(t)
	reg := prometheus.NewRegistry()
	c := config(to.URL, nil)
	c.Metrics = telemetry.NewMetrics(reg)
	tracer := newTracer(t, c)
	spans(t.Context(), tracer, 600) // more than one batch
	stop(t, tracer)
	if n := total(t, reg, metricExported, ""); n != 600 || len(to.Spans()) != 600 {
		t.Errorf("%v spans counted, %d arrived, want 600", n, len(to.Spans()))
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	limit := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(limit) {
			t.Fatal("it does not come true")
		}
		<-tick.C
	}
}
