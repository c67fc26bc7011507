package vaultstore

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// Metrics of the package. A nil *Metrics counts nothing.
type Metrics struct {
	operations  *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	answers     *prometheus.CounterVec
	logins      *prometheus.CounterVec
	renewals    prometheus.Counter
	tokenExpiry prometheus.Gauge
	undestroyed prometheus.Counter
}

// opCheck is the operation that concerns no record.
const opCheck = "check"

// The label values, all created at the start.
func operationNames() []string {
	return []string{opCheck, "datakey", "destroy", "erase", "get", "list", "openkey", "prepare", "put"}
}

func outcomeNames() []string {
	return []string{"ok", "not_found", "conflict", "ambiguous", "transient", "throttled", "permanent"}
}

func statusNames() []string {
	return []string{"200", "204", "400", "403", "404", "412", "413", "429", "472", "473", "500", "501", "502", "503", "504", "none", "other"}
}

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const namespace, room = "finx_connector", "vaultstore"
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: namespace, Subsystem: room, Name: name, Help: help}
	}
	m := &Metrics{
		operations: prometheus.NewCounterVec(counter("operations_total", "Operations on records and data keys, by outcome."), []string{"operation", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: room, Name: "operation_seconds",
			Help:    "Time an operation took, logins and repeated attempts included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation"}),
		answers:  prometheus.NewCounterVec(counter("answers_total", "Answers of Vault by status; none when no answer came."), []string{"status"}),
		logins:   prometheus.NewCounterVec(counter("logins_total", "Logins to Vault."), []string{"outcome"}),
		renewals: prometheus.NewCounter(counter("token_renewals_total", "Renewals of the Vault token.")),
		tokenExpiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: room, Name: "token_expiry_timestamp_seconds",
			Help: "Unix time at which the Vault token ends unless renewed; 0 when it has no end.",
		}),
		undestroyed: prometheus.NewCounter(counter("superseded_kept_total", "Superseded versions whose destruction failed; the next write destroys them.")),
	}
	for _, operation := range operationNames() {
		m.seconds.WithLabelValues(operation)
		for _, outcome := range outcomeNames() {
			m.operations.WithLabelValues(operation, outcome)
		}
	}
	for _, status := range statusNames() {
		m.answers.WithLabelValues(status)
	}
	for _, outcome := range []string{"ok", "error"} {
		m.logins.WithLabelValues(outcome)
	}
	reg.MustRegister(m.operations, m.seconds, m.answers, m.logins, m.renewals, m.tokenExpiry, m.undestroyed)
	return m
}

func (m *Metrics) operation(name string, took time.Duration, err error) {
	if m == nil {
		return
	}
	m.operations.WithLabelValues(name, outcome(err)).Inc()
	m.seconds.WithLabelValues(name).Observe(took.Seconds())
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrNotFound):
		return "not_found"
	case errors.Is(err, ErrConflict):
		return "conflict"
	case fault.IsAmbiguous(err):
		return "ambiguous"
	}
	switch fault.Of(err) {
	case fault.WaitUntil:
		return "throttled"
	case fault.GiveUp:
		return "permanent"
	default:
		return "transient"
	}
}

func (m *Metrics) answer(resp *http.Response) {
	if m == nil {
		return
	}
	status := "none"
	if resp != nil {
		status = "other"
		for _, known := range statusNames() {
			if known == strconv.Itoa(resp.StatusCode) {
				status = known
			}
		}
	}
	m.answers.WithLabelValues(status).Inc()
}

func (m *Metrics) login(err error) {
	if m == nil {
		return
	}
	if err != nil {
		m.logins.WithLabelValues("error").Inc()
		return
	}
	m.logins.WithLabelValues("ok").Inc()
}

func (m *Metrics) renewed() {
	if m != nil {
		m.renewals.Inc()
	}
}

func (m *Metrics) expiry(at time.Time) {
	if m == nil {
		return
	}
	if at.IsZero() {
		m.tokenExpiry.Set(0)
		return
	}
	m.tokenExpiry.Set(float64(at.Unix()))
}

func (m *Metrics) kept() {
	if m != nil {
		m.undestroyed.Inc()
	}
}
