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
}

// NewMetrics registers the metrics of this package.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "finx_connector_custody_spends_total",
			Help: "Codes and refresh tokens spent, by outcome.",
		}, []string{"kind", "outcome"}),
		replays: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "finx_connector_custody_ambiguous_total",
			Help: "Token calls that got no answer and were resolved by spending the same value once more.",
		}, []string{"kind"}),
		storeWait: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "finx_connector_custody_store_retries_total",
			Help: "Failed tries to store tokens that finX had already handed out.",
		}),
	}
	for _, kind := range []string{kindExchange, kindRefresh} {
		m.replays.WithLabelValues(kind)
		for _, outcome := range []string{"stored", "rejected", "unknown"} {
			m.outcomes.WithLabelValues(kind, outcome)
		}
	}
	reg.MustRegister(m.outcomes, m.replays, m.storeWait)
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
