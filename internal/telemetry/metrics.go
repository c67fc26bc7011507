package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Why spans are dropped, as the metric's label says it.
const (
	dropQueueFull = "queue_full"
	dropNotSent   = "not_sent"
)

// Metrics counts what becomes of the spans. A nil *Metrics counts nothing.
type Metrics struct {
	exported prometheus.Counter
	lost     *prometheus.CounterVec
}

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		exported: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "finx_connector_telemetry_spans_exported_total",
			Help: "Spans that the OTLP endpoint has taken.",
		}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "finx_connector_telemetry_spans_dropped_total",
			Help: "Spans dropped because too many waited (queue_full) or the OTLP endpoint did not take them (not_sent).",
		}, []string{"reason"}),
	}
	m.lost.WithLabelValues(dropQueueFull)
	m.lost.WithLabelValues(dropNotSent)
	reg.MustRegister(m.exported, m.lost)
	return m
}

func (m *Metrics) sent(n int) {
	if m != nil {
		m.exported.Add(float64(n))
	}
}

func (m *Metrics) dropped(n int, reason string) {
	if m != nil {
		m.lost.WithLabelValues(reason).Add(float64(n))
	}
}
