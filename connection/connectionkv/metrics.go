package connectionkv

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// The operations, as they are called in the metric.
const (
	opGet          = "get"
	opCreate       = "create"
	opUpdate       = "update"
	opDelete       = "delete"
	opList         = "list"
	opBindState    = "bind_state"
	opLookupState  = "lookup_state"
	opConsumeState = "consume_state"
	opUnbindState  = "unbind_state"
	opAcquire      = "acquire"
	opRenew        = "renew"
	opRelease      = "release"
	opEscrowPut    = "escrow_put"
	opEscrowGet    = "escrow_get"
	opEscrowDelete = "escrow_delete"
	opEscrowKeys   = "escrow_keys"

	opControlLoad     = "control_load"
	opControlSave     = "control_save"
	opControlWatch    = "control_watch" // counted when it ends
	opAnnounce        = "replica_announce"
	opReplicas        = "replica_watch" // as control_watch
	opSuspectBegun    = "suspect_begun"
	opSuspectReturned = "suspect_returned"
)

// The outcomes. An answer is any other sentinel of this package, and what is
// wrong with the caller's own value: the store works and says no.
const (
	outcomeOK       = "ok"
	outcomeConflict = "conflict"
	outcomeAnswer   = "answer"
	outcomeError    = "error"
)

// Metrics counts what Store, Escrow and Control do. A nil *Metrics counts nothing.
type Metrics struct {
	operations *prometheus.CounterVec
	replicas   prometheus.Gauge
}

// NewMetrics registers the metrics of this package with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{operations: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "finx_connector_connectionkv_operations_total",
		Help: "Operations on the KV buckets of connections, leases, escrow and control, by operation and outcome.",
	}, []string{"operation", "outcome"}), replicas: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "finx_connector_connectionkv_replicas",
		Help: "Live replicas as this one knows of them, itself included; 0 before it has asked.",
	})}
	for _, op := range []string{
		opGet, opCreate, opUpdate, opDelete, opList, opBindState, opLookupState, opConsumeState, opUnbindState,
		opAcquire, opRenew, opRelease,
		opEscrowPut, opEscrowGet, opEscrowDelete, opEscrowKeys,
		opControlLoad, opControlSave, opControlWatch, opAnnounce, opReplicas, opSuspectBegun, opSuspectReturned,
	} {
		for _, outcome := range []string{outcomeOK, outcomeConflict, outcomeAnswer, outcomeError} {
			m.operations.WithLabelValues(op, outcome)
		}
	}
	r.MustRegister(m.operations, m.replicas)
	return m
}

func (m *Metrics) setReplicas(n int) {
	if m != nil {
		m.replicas.Set(float64(n))
	}
}

func (m *Metrics) observe(op string, err error) {
	if m == nil {
		return
	}
	m.operations.WithLabelValues(op, outcomeOf(err)).Inc()
}

func outcomeOf(err error) string {
	switch {
	case err == nil:
		return outcomeOK
	case errors.Is(err, ErrConflict):
		return outcomeConflict
	case fault.Of(err) == fault.GiveUp:
		return outcomeAnswer
	}
	for _, answer := range []error{ErrNotFound, ErrExists, ErrLeaseHeld, ErrLeaseLost} {
		if errors.Is(err, answer) {
			return outcomeAnswer
		}
	}
	return outcomeError
}
