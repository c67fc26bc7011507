package guard

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics measures Guards. A nil *Metrics measures nothing.
type Metrics struct {
	open     *prometheus.GaugeVec
	trips    *prometheus.CounterVec
	refusals *prometheus.CounterVec
	probes   *prometheus.CounterVec
	queue    *prometheus.GaugeVec
	wait     *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	limit    *prometheus.GaugeVec
}

// NewMetrics registers the metrics with reg, with every label value of the named
// servers present from the start. It panics when reg has them already, as
// MustRegister does: that is a mistake of the wiring.
func NewMetrics(reg prometheus.Registerer, servers ...string) *Metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "finx_connector_guard_" + name, Help: help}, []string{"server"})
	}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "finx_connector_guard_" + name, Help: help}, []string{"server"})
	}
	m := &Metrics{
		open:     gauge("open", "1 while the server is left alone."),
		trips:    counter("trips_total", "Times this process found that the server is to be left alone, failed probes included."),
		refusals: counter("refused_calls_total", "Calls that were not made because the server is left alone."),
		probes:   counter("probes_total", "Calls of this process that found out whether the server works again."),
		queue:    gauge("queue_length", "Calls that wait for their turn."),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "finx_connector_guard_queue_wait_seconds",
			Help:    "Time that calls waited for their turn, those that need not wait included.",
			Buckets: []float64{.001, .01, .1, .5, 1, 2.5, 5, 10, 30, 60, 120},
		}, []string{"server"}),
		inFlight: gauge("calls_in_flight", "Calls under way."),
		limit:    gauge("calls_limit", "Calls that may be under way at once; 0: any number."),
	}
	reg.MustRegister(m.open, m.trips, m.refusals, m.probes, m.queue, m.wait, m.inFlight, m.limit)
	for _, server := range servers {
		m.of(server)
	}
	return m
}

// meter is the metrics of one server. A nil *meter measures nothing.
type meter struct {
	open, queue, inFlight, limit prometheus.Gauge
	trips, refusals, probes      prometheus.Counter
	wait                         prometheus.Observer
}

func (m *Metrics) of(server string) *meter {
	if m == nil {
		return nil
	}
	return &meter{
		open: m.open.WithLabelValues(server), queue: m.queue.WithLabelValues(server),
		inFlight: m.inFlight.WithLabelValues(server), limit: m.limit.WithLabelValues(server),
		trips: m.trips.WithLabelValues(server), refusals: m.refusals.WithLabelValues(server),
		probes: m.probes.WithLabelValues(server), wait: m.wait.WithLabelValues(server),
	}
}

func (m *meter) opened(yes bool) {
	switch {
	case m == nil:
	case yes:
		m.open.Set(1)
	default:
		m.open.Set(0)
	}
}

func (m *meter) tripped() {
	if m != nil {
		m.trips.Inc()
	}
}

func (m *meter) refused() {
	if m != nil {
		m.refusals.Inc()
	}
}

func (m *meter) probed() {
	if m != nil {
		m.probes.Inc()
	}
}

func (m *meter) queued(n int) {
	if m != nil {
		m.queue.Set(float64(n))
	}
}

func (m *meter) waited(d time.Duration) {
	if m != nil {
		m.wait.Observe(d.Seconds())
	}
}

func (m *meter) underWay(n int) {
	if m != nil {
		m.inFlight.Set(float64(n))
	}
}

func (m *meter) limited(n float64) {
	if m != nil {
		m.limit.Set(n)
	}
}
