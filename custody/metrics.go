package custody

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what happened to codes and tokens. A nil *Metrics counts nothing.
type Metrics struct {
	outcomes  *prometheus.CounterVec
	replays   *prometheus.CounterVec
	storeWait prometheus.Counter
	copies    prometheus.Counter
	homes     *prometheus.CounterVec
	waiting   prometheus.Gauge
	marks     prometheus.Gauge
}

// NewMetrics registers the metrics of this package.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "finx_connector_custody_spends_total",
			Help: "Codes and refresh tokens spent, by outcome: stored, rejected by finX, or unknown, which is a lost token. kind=refresh, outcome=stored are the rotations.",
		}, []string{"kind", "outcome"}),
		replays: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "finx_connector_custody_ambiguous_total",
			Help: "Token calls that got no answer and were resolved by spending the same value once more.",
		}, []string{"kind"}),
		storeWait: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "finx_connector_custody_store_retries_total",
			Help: "Failed tries to store tokens that finX had already handed out.",
		}),
		copies: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "finx_connector_custody_escrowed_total",
			Help: "Answers put into the escrow bucket, because Vault did not take them at once.",
		}),
		homes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "finx_connector_custody_homecomings_total",
			Help: "Answers of former processes found in escrow: stored in Vault, or stale because Vault had them.",
		}, []string{"outcome"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "finx_connector_custody_escrow_waiting",
			Help: "Answers in escrow at the last look, which is a minute ago at most; all replicas look at the same bucket, so take the max.",
		}),
		marks: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "finx_connector_custody_open_marks",
			Help: "Connections whose secret says that a token call was begun and not ended, or whose secret could not be read, as the sweep knows: written for each one it looks at, every 4 hours and at the start, by one replica at a time; take the max.",
		}),
	}
	for _, outcome := range []string{"stored", "stale"} {
		m.homes.WithLabelValues(outcome)
	}
	for _, kind := range []string{kindExchange, kindRefresh} {
		m.replays.WithLabelValues(kind)
		for _, outcome := range []string{"stored", "rejected", "unknown"} {
			m.outcomes.WithLabelValues(kind, outcome)
		}
	}
	reg.MustRegister(m.outcomes, m.replays, m.storeWait, m.copies, m.homes, m.waiting, m.marks)
	return m
}

func (m *Metrics) settled(kind string, err error) {
	if m == nil {
		return
	}
	outcome := "stored"
	switch {
	case errors.Is(err, ErrExchangeUnknown), errors.Is(err, ErrRotationUnknown):
		outcome = "unknown"
	case err != nil:
		outcome = "rejected"
	}
	m.outcomes.WithLabelValues(kind, outcome).Inc()
}

func (m *Metrics) ambiguous(kind string) {
	if m != nil {
		m.replays.WithLabelValues(kind).Inc()
	}
}

func (m *Metrics) storeRetried() {
	if m != nil {
		m.storeWait.Inc()
	}
}

func (m *Metrics) escrowed() {
	if m != nil {
		m.copies.Inc()
	}
}

func (m *Metrics) home(h Homecoming) {
	if m == nil {
		return
	}
	m.homes.WithLabelValues("stored").Add(float64(h.Stored))
	m.homes.WithLabelValues("stale").Add(float64(h.Stale))
	m.waiting.Set(float64(h.Waiting))
}

// OpenMarks writes down how many token calls a sweep knows to be open.
func (m *Metrics) OpenMarks(n int) {
	if m != nil {
		m.marks.Set(float64(n))
	}
}
