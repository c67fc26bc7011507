package consumer

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/finx-connector/finx-connector/internal/fault"
)

const (
	namespace = "finx_connector"
	subsystem = "consumer"
)

// The answers as metric labels.
const (
	answerAck  = "ack"
	answerNak  = "nak"
	answerTerm = "term"
)

// Metrics counts what the lanes do. A nil *Metrics counts nothing.
type Metrics struct {
	receivedTotal    *prometheus.CounterVec
	redeliveredTotal *prometheus.CounterVec
	settledTotal     *prometheus.CounterVec
	deadLetters      *prometheus.CounterVec
	heartbeats       *prometheus.CounterVec
	ackFailures      *prometheus.CounterVec
	panics           *prometheus.CounterVec
	parkedTotal      *prometheus.CounterVec
	handedOverTotal  *prometheus.CounterVec
	attempts         *prometheus.HistogramVec
	handling         *prometheus.HistogramVec
	lettersStored    prometheus.Gauge
	live             *liveCollector
}

// NewMetrics registers the metrics of the named lanes, with every label value
// present from the start, so that an alert on a rate sees the first increase. It
// panics when they are registered already.
func NewMetrics(reg prometheus.Registerer, lanes ...string) *Metrics {
	m := &Metrics{
		receivedTotal:    counter("received_total", "Deliveries taken from the server by this process.", "lane"),
		redeliveredTotal: counter("redelivered_total", "Deliveries of a message that was delivered before.", "lane"),
		settledTotal:     counter("settled_total", "Deliveries answered, by outcome: done; retry, wait_until or parked when they come back; dead_letter; dead_letter_not_stored when that could not be stored; busy and shutdown when they were not handled.", "lane", "outcome"),
		deadLetters:      counter("dead_letters_total", "Dead letters stored, by class.", "lane", "class"),
		heartbeats:       counter("heartbeats_total", "Signs of work in progress sent to the server, every third of AckWait a delivery.", "lane", "result"),
		ackFailures:      counter("ack_failures_total", "Answers that could not be given; the message comes back after AckWait.", "lane", "answer"),
		panics:           counter("panics_total", "Handlers that panicked; the delivery counts as failed.", "lane"),
		parkedTotal:      counter("parked_total", "Deliveries that wait in the timers stream and not with their consumer.", "lane"),
		handedOverTotal:  counter("handed_over_total", "Parked deliveries that came due and were handed to their lane.", "lane"),
		attempts:         histogram("attempts", "Attempts a message took until it was acknowledged or given up.", []float64{1, 2, 3, 5, 8, 13, 21}),
		handling:         histogram("handling_seconds", "Time from receipt to the handler's return, in seconds.", []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800}),
		lettersStored: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "dead_letters_stored",
			Help: "Dead letters in their stream, of all lanes and replicas, as the server said a minute ago at most; the same on every replica, so take the max. NaN before it has answered.",
		}),
		live: newLiveCollector(),
	}
	m.lettersStored.Set(math.NaN())
	reg.MustRegister(m.receivedTotal, m.redeliveredTotal, m.settledTotal, m.deadLetters, m.heartbeats,
		m.ackFailures, m.panics, m.parkedTotal, m.handedOverTotal, m.attempts, m.handling, m.lettersStored, m.live)
	for _, lane := range lanes {
		m.prepare(lane)
		m.live.prepare(lane)
	}
	return m
}

// prepare creates every label value of a lane.
func (m *Metrics) prepare(lane string) {
	m.receivedTotal.WithLabelValues(lane)
	m.redeliveredTotal.WithLabelValues(lane)
	m.panics.WithLabelValues(lane)
	m.parkedTotal.WithLabelValues(lane)
	m.handedOverTotal.WithLabelValues(lane)
	m.attempts.WithLabelValues(lane)
	m.handling.WithLabelValues(lane)
	for _, o := range []Outcome{OutcomeDone, OutcomeRetry, OutcomeWaitUntil, OutcomeParked, OutcomeShutdown, OutcomeDeadLetter, OutcomeNotStored, OutcomeBusy} {
		m.settledTotal.WithLabelValues(lane, string(o))
	}
	for _, c := range []fault.Class{fault.Malformed, fault.Rejected, fault.Exhausted, fault.Expired, fault.UnknownState, fault.Oversize, fault.Outage} {
		m.deadLetters.WithLabelValues(lane, string(c))
	}
	for _, r := range []string{"sent", "failed"} {
		m.heartbeats.WithLabelValues(lane, r)
	}
	for _, a := range []string{answerAck, answerNak, answerTerm} {
		m.ackFailures.WithLabelValues(lane, a)
	}
}

func (m *Metrics) received(lane string, again bool) {
	if m == nil {
		return
	}
	m.receivedTotal.WithLabelValues(lane).Inc()
	if again {
		m.redeliveredTotal.WithLabelValues(lane).Inc()
	}
}

func (m *Metrics) settled(lane string, a Action, attempt int) {
	if m == nil {
		return
	}
	m.settledTotal.WithLabelValues(lane, string(a.outcome())).Inc()
	if a.Kind == Ack || a.Kind == DeadLetter {
		m.attempts.WithLabelValues(lane).Observe(float64(attempt))
	}
}

func (m *Metrics) handled(lane string, d time.Duration) {
	if m != nil {
		m.handling.WithLabelValues(lane).Observe(d.Seconds())
	}
}

func (m *Metrics) heartbeat(lane string, sent bool) {
	if m == nil {
		return
	}
	result := "sent"
	if !sent {
		result = "failed"
	}
	m.heartbeats.WithLabelValues(lane, result).Inc()
}

func (m *Metrics) buried(lane string, class fault.Class) {
	if m != nil {
		m.deadLetters.WithLabelValues(lane, string(class)).Inc()
	}
}

func (m *Metrics) ackFailed(lane, answer string) {
	if m != nil {
		m.ackFailures.WithLabelValues(lane, answer).Inc()
	}
}

func (m *Metrics) parked(lane string) {
	if m != nil {
		m.parkedTotal.WithLabelValues(lane).Inc()
	}
}

func (m *Metrics) handedOver(lane string) {
	if m != nil {
		m.handedOverTotal.WithLabelValues(lane).Inc()
	}
}

func (m *Metrics) panicked(lane string) {
	if m != nil {
		m.panics.WithLabelValues(lane).Inc()
	}
}

func (m *Metrics) stored(letters uint64) {
	if m != nil {
		m.lettersStored.Set(float64(letters))
	}
}

func (m *Metrics) watch(l *lane) {
	if m != nil {
		m.live.watch(l)
	}
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets,
	}, []string{"lane"})
}
