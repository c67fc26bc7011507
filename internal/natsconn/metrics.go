package natsconn

import "github.com/prometheus/client_golang/prometheus"

const (
	kindPermission    = "permission"
	kindSlowConsumer  = "slow_consumer"
	kindAuthorization = "authorization"
	kindOther         = "other"
)

// Metrics counts what happens to the connection. A nil *Metrics counts nothing.
type Metrics struct {
	connectedGauge prometheus.Gauge
	disconnects    prometheus.Counter
	reconnects     prometheus.Counter
	asyncErrors    *prometheus.CounterVec
}

// NewMetrics registers the metrics of the connection with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		connectedGauge: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "finx_connector_natsconn_connected",
			Help: "1 while the connection to NATS is up.",
		}),
		disconnects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "finx_connector_natsconn_disconnects_total",
			Help: "Times the connection to NATS was lost.",
		}),
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "finx_connector_natsconn_reconnects_total",
			Help: "Times the connection to NATS came back.",
		}),
		asyncErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "finx_connector_natsconn_async_errors_total",
			Help: "Complaints of the broker that answer no call, by kind; a permission violation is one.",
		}, []string{"kind"}),
	}
	for _, kind := range []string{kindPermission, kindSlowConsumer, kindAuthorization, kindOther} {
		m.asyncErrors.WithLabelValues(kind)
	}
	reg.MustRegister(m.connectedGauge, m.disconnects, m.reconnects, m.asyncErrors)
	return m
}

func (m *Metrics) up(yes bool) {
	if m == nil {
		return
	}
	if yes {
		m.connectedGauge.Set(1)
		return
	}
	m.connectedGauge.Set(0)
}

func (m *Metrics) disconnected() {
	if m != nil {
		m.disconnects.Inc()
	}
}

func (m *Metrics) reconnected() {
	if m != nil {
		m.reconnects.Inc()
	}
}

func (m *Metrics) asyncError(kind string) {
	if m != nil {
		m.asyncErrors.WithLabelValues(kind).Inc()
	}
}
