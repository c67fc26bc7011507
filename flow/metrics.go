package flow

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// How a try to fetch came out.
const (
	fetchCompleted = "completed"
	fetchRetried   = "retried"      // it comes back
	fetchFailed    = "failed"       // transactions.fetch.failed
	fetchEnded     = "access_ended" // the same, and the user is needed
	fetchGivenUp   = "given_up"     // the same, after all the retries
)

// How a try to keep a refresh token alive came out.
const (
	keptRotated  = "rotated"
	keptBusy     = "busy"    // somebody else is at it
	keptCrowded  = "crowded" // more urgent ones are first
	keptFailed   = "failed"  // tried again
	keptEnded    = "access_ended"
	keptUnneeded = "not_due"
)

// The timers, and the work without an event.
const (
	timerFetch     = "fetch"
	timerKeepAlive = "keepalive"

	dutyHome  = "bringing_home"
	dutySweep = "sweep"
	dutyWalk  = "walk"
)

// Metrics counts what the handlers and the upkeep do. A nil *Metrics counts nothing.
type Metrics struct {
	fetches      *prometheus.CounterVec
	fetchTime    *prometheus.HistogramVec
	fetchSize    prometheus.Histogram
	fetchBytes   prometheus.Histogram
	fetchedAt    prometheus.Gauge
	timerLag     *prometheus.HistogramVec
	keepAlives   *prometheus.CounterVec
	failures     *prometheus.CounterVec
	endings      *prometheus.CounterVec
	dutyFailures *prometheus.CounterVec
	dutyDone     *prometheus.GaugeVec
	panics       prometheus.Counter
	census       *censusMetrics
}

// NewMetrics registers the metrics with reg, with every label value present from the
// start. It panics when they are registered already.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "finx_connector_flow_" + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: "finx_connector_flow_" + name, Help: help, Buckets: buckets}
	}
	m := &Metrics{
		fetches: counter("fetches_total", "Tries to fetch, by what asked for them and how they came out: completed; retried when they come back; failed, given_up (after all retries) and access_ended (a user is needed), each of which downstream was told.", "trigger", "outcome"),
		fetchTime: prometheus.NewHistogramVec(histogram("fetch_seconds", "Time from the start of a fetch to its completion in seconds, earlier tries of it included.",
			[]float64{.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}), []string{"trigger"}),
		fetchSize: prometheus.NewHistogram(histogram("fetch_transactions", "Transactions of a completed fetch.",
			[]float64{0, 10, 100, 1000, 10_000, 100_000, 1_000_000})),
		fetchBytes: prometheus.NewHistogram(histogram("fetch_bytes", "Bytes of the transactions of a completed fetch as finX sent them, those of earlier tries of it not included.",
			prometheus.ExponentialBuckets(1<<10, 8, 8))),
		fetchedAt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "finx_connector_flow_fetch_completed_timestamp_seconds",
			Help: "Unix time at which this process last completed a fetch; 0 before the first. The newest of all replicas is the max.",
		}),
		timerLag: prometheus.NewHistogramVec(histogram("timer_lag_seconds", "How late timers were handled, in seconds from the time they were set to; what came due while the service was down is in it.",
			[]float64{1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600}), []string{"timer"}),
		keepAlives:   counter("keepalives_total", "Tries of the keep-alive to rotate a refresh token: rotated; not_due when a fetch had rotated it; busy or crowded when others are first; failed, tried again; access_ended when a user is needed.", "outcome"),
		failures:     counter("connection_failures_total", "Passes through the widget that came to nothing, by the reason of connection.failed; counted again when one is handled again.", "reason"),
		endings:      counter("reauthorizations_total", "Connections whose access has ended, by the reason of connection.reauthorization.required; counted again when one is handled again.", "reason"),
		dutyFailures: counter("upkeep_failures_total", "Times that work without an event was interrupted by an error: bringing answers home, the sweep of open token calls, the walk over all connections.", "duty"),
		dutyDone: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "finx_connector_flow_upkeep_timestamp_seconds",
			Help: "Unix time at which this process last finished that work; 0 before the first time. One replica at a time does it, so take the max. The sweep is done every 4 hours, the walk every 6, and both at the start.",
		}, []string{"duty"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "finx_connector_flow_panics_total", Help: "Panics outside of a delivery's handler: in the upkeep, and in the publishing half of a fetch."}),
		census: newCensusMetrics(reg),
	}
	reg.MustRegister(m.fetches, m.fetchTime, m.fetchSize, m.fetchBytes, m.fetchedAt, m.timerLag, m.keepAlives, m.failures, m.endings,
		m.dutyFailures, m.dutyDone, m.panics)
	m.prepare()
	return m
}

// prepare creates every label value.
func (m *Metrics) prepare() {
	for _, trigger := range triggers() {
		m.fetchTime.WithLabelValues(trigger)
		for _, outcome := range []string{fetchCompleted, fetchRetried, fetchFailed, fetchEnded, fetchGivenUp} {
			m.fetches.WithLabelValues(trigger, outcome)
		}
	}
	for _, timer := range []string{timerFetch, timerKeepAlive} {
		m.timerLag.WithLabelValues(timer)
	}
	for _, outcome := range []string{keptRotated, keptBusy, keptCrowded, keptFailed, keptEnded, keptUnneeded} {
		m.keepAlives.WithLabelValues(outcome)
	}
	for _, reason := range failureReasons() {
		m.failures.WithLabelValues(reason)
	}
	for _, reason := range endingReasons() {
		m.endings.WithLabelValues(reason)
	}
	for _, duty := range []string{dutyHome, dutySweep, dutyWalk} {
		m.dutyFailures.WithLabelValues(duty)
		m.dutyDone.WithLabelValues(duty)
	}
}

func triggers() []string {
	return []string{events.TriggerCallback, events.TriggerSchedule, events.TriggerRequest, events.TriggerReplay}
}

func failureReasons() []string {
	return []string{
		events.ReasonCancelled, events.ReasonUnsuccessful, events.ReasonLinkRejected, events.ReasonCodeExpired,
		events.ReasonCodeRejected, events.ReasonExchangeOutcomeUnknown,
	}
}

func endingReasons() []string {
	return []string{
		events.ReasonRefreshRejected, events.ReasonRotationOutcomeUnknown, events.ReasonConsentExpired, events.ReasonAccessRevoked,
	}
}

// fetched counts a try to fetch. err is nil when it was completed.
func (m *Metrics) fetched(trigger string, err error) {
	if m == nil {
		return
	}
	outcome := fetchRetried
	if _, ended := endOf(err); ended {
		outcome = fetchEnded
	} else if err == nil {
		outcome = fetchCompleted
	} else if fault.Of(err) == fault.GiveUp {
		outcome = fetchFailed
	}
	m.fetches.WithLabelValues(known(trigger, triggers(), events.TriggerRequest), outcome).Inc()
}

// completed measures a completed fetch.
func (m *Metrics) completed(trigger string, started, finished time.Time, done fetched) {
	if m == nil {
		return
	}
	m.fetchTime.WithLabelValues(known(trigger, triggers(), events.TriggerRequest)).Observe(finished.Sub(started).Seconds())
	m.fetchSize.Observe(float64(done.transactions))
	m.fetchBytes.Observe(float64(done.bytes))
	m.fetchedAt.Set(float64(finished.Unix()))
}

func (m *Metrics) givenUp(trigger string) {
	if m != nil {
		m.fetches.WithLabelValues(known(trigger, triggers(), events.TriggerRequest), fetchGivenUp).Inc()
	}
}

// due measures how late a timer is handled that was set to at.
func (m *Metrics) due(timer string, at time.Time) {
	if m != nil {
		m.timerLag.WithLabelValues(timer).Observe(max(0, time.Since(at).Seconds()))
	}
}

func (m *Metrics) kept(outcome string) {
	if m != nil {
		m.keepAlives.WithLabelValues(outcome).Inc()
	}
}

// rotated counts a rotation by why it failed, if it did.
func (m *Metrics) rotated(failed error) {
	_, ended := endOf(failed)
	_, waits := fault.Until(failed)
	switch {
	case failed == nil:
		m.kept(keptRotated)
	case ended:
		m.kept(keptEnded)
	case waits && fault.DependencyOf(failed) == "":
		m.kept(keptBusy)
	default:
		m.kept(keptFailed)
	}
}

func (m *Metrics) connectionFailed(reason string) {
	if m != nil {
		m.failures.WithLabelValues(known(reason, failureReasons(), events.ReasonUnsuccessful)).Inc()
	}
}

func (m *Metrics) accessEnded(reason string) {
	if m != nil {
		m.endings.WithLabelValues(known(reason, endingReasons(), events.ReasonAccessRevoked)).Inc()
	}
}

// interrupted counts a duty that ended with an error.
func (m *Metrics) interrupted(duty string) {
	if m != nil {
		m.dutyFailures.WithLabelValues(duty).Inc()
	}
}

// finished notes that this process came to the end of a duty.
func (m *Metrics) finished(duty string) {
	if m != nil {
		m.dutyDone.WithLabelValues(duty).Set(float64(time.Now().Unix()))
	}
}

func (m *Metrics) panicked() {
	if m != nil {
		m.panics.Inc()
	}
}

// known returns s, or the fallback when s is not one of all: a label has no values
// that nobody foresaw.
func known(s string, all []string, fallback string) string {
	if slices.Contains(all, s) {
		return s
	}
	return fallback
}
