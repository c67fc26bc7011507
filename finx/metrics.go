package finx

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// The calls, as they are named in metric labels.
const (
	callCreateAccess = "create_access"
	callCreateSync   = "create_sync"
	callExchangeCode = "exchange_code"
	callRefresh      = "refresh"
	callRevoke       = "revoke"
	callAccounts     = "accounts"
	callTransactions = "transactions"
	callProbe        = "probe"
)

func callNames() []string {
	return []string{callCreateAccess, callCreateSync, callExchangeCode, callRefresh, callRevoke, callAccounts, callTransactions, callProbe}
}

// Metrics measures the attempts of Clients. A nil *Metrics measures nothing.
type Metrics struct {
	duration *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	retries  *prometheus.CounterVec
	refused  prometheus.Gauge
}

// NewMetrics registers the metrics with reg, with every label value present from
// the start. It panics when reg has them already, as MustRegister does: that is a
// mistake of the wiring.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "finx_connector_finx_call_duration_seconds",
			Help:    "Duration of one attempt at finX in seconds, from dialling to the last byte, by call and verdict: done; retry; wait_until when finX throttles; give_up when it refuses.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"call", "verdict"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "finx_connector_finx_calls_in_flight",
			Help: "Attempts at finX under way.",
		}, []string{"call"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "finx_connector_finx_retries_total",
			Help: "Attempts repeated inside the client, within its retry budget.",
		}, []string{"call"}),
		refused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "finx_connector_finx_client_refused",
			Help: "1 when finX refused FINX_CLIENT_ID and its secret at the last call that this process made with them; 0 when it accepted them, or before the first. Take the max.",
		}),
	}
	reg.MustRegister(m.duration, m.inFlight, m.retries, m.refused)
	for _, call := range callNames() {
		m.inFlight.WithLabelValues(call)
		m.retries.WithLabelValues(call)
		for _, v := range []fault.Verdict{fault.Done, fault.Retry, fault.WaitUntil, fault.GiveUp} {
			m.duration.WithLabelValues(call, v.String())
		}
	}
	return m
}

// begin counts an attempt in; the returned function counts it out again.
func (m *Metrics) begin(call string) (done func(error)) {
	if m == nil {
		return func(error) {}
	}
	start, gauge := time.Now(), m.inFlight.WithLabelValues(call)
	gauge.Inc()
	return func(err error) {
		gauge.Dec()
		switch {
		case errors.Is(err, ErrClientCredentials):
			m.refused.Set(1)
		case err == nil && call != callAccounts && call != callTransactions: // those show an access token
			m.refused.Set(0)
		}
		m.duration.WithLabelValues(call, fault.Of(err).String()).Observe(time.Since(start).Seconds())
	}
}

func (m *Metrics) repeated(call string) {
	if m != nil {
		m.retries.WithLabelValues(call).Inc()
	}
}
