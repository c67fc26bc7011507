package publisher

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/finx-connector/finx-connector/events"
)

const typeTimer = "timer" // label of schedules, which are no event type

// Metrics counts what is published. A nil *Metrics counts nothing.
type Metrics struct {
	events  *prometheus.CounterVec
	objects *prometheus.CounterVec
	stored  prometheus.Counter
	retries *prometheus.CounterVec
	bytes   prometheus.Counter
	seconds prometheus.Histogram
}

// NewMetrics registers the publisher's metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "finx_connector_publisher_events_total",
			Help: "Events by type and outcome: stored, duplicate (the stream held it already), or the reason it was given back.",
		}, []string{"type", "outcome"}),
		objects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "finx_connector_publisher_objects_total",
			Help: "Transactions too large for a part, by outcome: stored in the object store, found there already, or the reason it was given back.",
		}, []string{"outcome"}),
		stored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "finx_connector_publisher_object_bytes_total",
			Help: "Bytes of the objects stored.",
		}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "finx_connector_publisher_retries_total",
			Help: "Repeated attempts by the reason the one before failed.",
		}, []string{"reason"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "finx_connector_publisher_bytes_total",
			Help: "Bytes of the events stored, without headers.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "finx_connector_publisher_publish_seconds",
			Help:    "Time from the first attempt to the ack of the stream, repeats included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 15, 60},
		}),
	}
	for _, typ := range append(events.OutputTypes(), events.TypeSyncRequested, typeTimer) {
		m.events.WithLabelValues(typ, "stored")
		m.events.WithLabelValues(typ, "duplicate")
		for _, r := range reasons() {
			m.events.WithLabelValues(typ, string(r))
		}
	}
	for _, r := range reasons() {
		m.retries.WithLabelValues(string(r))
		m.objects.WithLabelValues(string(r))
	}
	m.objects.WithLabelValues("stored")
	m.objects.WithLabelValues("found")
	reg.MustRegister(m.events, m.objects, m.stored, m.retries, m.bytes, m.seconds)
	return m
}

func (m *Metrics) published(typ string, duplicate bool, size int, took time.Duration) {
	if m == nil {
		return
	}
	outcome := "stored"
	if duplicate {
		outcome = "duplicate"
	} else {
		m.bytes.Add(float64(size))
	}
	m.events.WithLabelValues(typ, outcome).Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *Metrics) failed(typ string, r reason) {
	if m != nil {
		m.events.WithLabelValues(typ, string(r)).Inc()
	}
}

func (m *Metrics) retried(r reason) {
	if m != nil {
		m.retries.WithLabelValues(string(r)).Inc()
	}
}

func (m *Metrics) objectStored(found bool, size int) {
	if m == nil {
		return
	}
	if found {
		m.objects.WithLabelValues("found").Inc()
		return
	}
	m.objects.WithLabelValues("stored").Inc()
	m.stored.Add(float64(size))
}

func (m *Metrics) objectFailed(r reason) {
	if m != nil {
		m.objects.WithLabelValues(string(r)).Inc()
	}
}
