package flow

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/finx-connector/finx-connector/connection"
)

// bucket is a range of a label: up to its limit, and above that of the one before.
type bucket struct {
	label string
	upTo  time.Duration
}

const aDay = 24 * time.Hour

// leftBuckets are those of what is left of a refresh token's life.
func leftBuckets() []bucket {
	return []bucket{
		{"expired", 0},
		{"1d", aDay},
		{"3d", 3 * aDay},
		{"7d", 7 * aDay},
		{"14d", 14 * aDay},
		{"30d", 30 * aDay},
		{"60d", 60 * aDay},
		{"90d", 90 * aDay},
		{"more", math.MaxInt64},
	}
}

// ageBuckets are those of the age of data. A connection without any is in "never".
func ageBuckets() []bucket {
	return []bucket{
		{"6h", 6 * time.Hour},
		{"12h", 12 * time.Hour},
		{"1d", aDay},
		{"2d", 2 * aDay},
		{"3d", 3 * aDay},
		{"7d", 7 * aDay},
		{"30d", 30 * aDay},
		{"more", math.MaxInt64},
	}
}

const ageNever = "never"

// labelOf returns the bucket that d is in.
func labelOf(buckets []bucket, d time.Duration) string {
	for _, b := range buckets {
		if d <= b.upTo {
			return b.label
		}
	}
	return buckets[len(buckets)-1].label
}

// Whose age it is.
const (
	ageOfFetch = "fetch" // since the last fetch was completed
	ageOfBank  = "bank"  // since the bank delivered, of the account where that is longest ago
)

// How a timer stands.
const (
	timerAhead   = "ahead"
	timerOverdue = "overdue" // since overdueAfter at least
)

// overdueAfter is how late a timer may be without being counted as overdue: a record
// says when it was due until whatever it brought has been done.
const overdueAfter = 15 * time.Minute

// census counts the connections that a walk comes by. It is not safe for concurrent use.
type census struct {
	now      time.Time
	lifetime time.Duration // of a refresh token
	states   map[string]int
	left     map[string]int
	ages     map[string]map[string]int
	timers   map[string]map[string]int
}

func newCensus(now time.Time, lifetime time.Duration) *census {
	return &census{
		now: now, lifetime: lifetime, states: map[string]int{}, left: map[string]int{},
		ages:   map[string]map[string]int{ageOfFetch: {}, ageOfBank: {}},
		timers: map[string]map[string]int{timerFetch: {}, timerKeepAlive: {}},
	}
}

// count adds a connection. What it says beyond the state is of established ones only.
func (c *census) count(rec connection.Record) {
	c.states[string(rec.State)]++
	if rec.State != connection.Established {
		return
	}
	c.left[labelOf(leftBuckets(), rec.RefreshObtainedAt.Add(c.lifetime).Sub(c.now))]++
	var fetched time.Time
	if rec.LastFetch != nil {
		fetched = rec.LastFetch.FinishedAt
	}
	c.ages[ageOfFetch][c.age(fetched)]++
	c.ages[ageOfBank][c.age(delivered(rec))]++
	c.timer(timerFetch, rec.NextFetchAt)
	c.timer(timerKeepAlive, rec.KeepAliveAt)
}

// timer counts a timer that is set to at; zero is none.
func (c *census) timer(kind string, at time.Time) {
	switch {
	case at.IsZero():
	case c.now.Sub(at) > overdueAfter:
		c.timers[kind][timerOverdue]++
	default:
		c.timers[kind][timerAhead]++
	}
}

func (c *census) age(at time.Time) string {
	if at.IsZero() {
		return ageNever
	}
	return labelOf(ageBuckets(), c.now.Sub(at))
}

// delivered is when the bank last delivered the account that it delivered longest
// ago; zero when there is one that it never delivered.
func delivered(rec connection.Record) time.Time {
	var oldest time.Time
	for _, mark := range rec.Accounts {
		at, ok := connection.ParseTimestamp(mark.SucceededAt)
		if !ok {
			return time.Time{}
		}
		if oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	return oldest
}

// censusMetrics are the numbers of the last walk.
type censusMetrics struct {
	states, left, ages, timers *prometheus.GaugeVec
	at                         prometheus.Gauge
}

func newCensusMetrics(reg prometheus.Registerer) *censusMetrics {
	const walked = " Counted by the replica that walks over all connections, at the start and every 6 hours: take the numbers of the replica whose finx_connector_connections_walk_timestamp_seconds is newest."
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "finx_connector_connections" + name, Help: help + walked}, labels)
	}
	m := &censusMetrics{
		states: gauge("", "Connections by state.", "state"),
		left:   gauge("_refresh_tokens", "Established connections by what is left of the life of their refresh token, each in the smallest range that holds it: 7d is more than 3 days and at most 7.", "within"),
		ages:   gauge("_data_age", "Established connections by the age of their data, each in the smallest range that holds it. of=fetch: since the last complete fetch; of=bank: since the bank last delivered, of the account where that is longest ago.", "of", "within"),
		timers: gauge("_timers", "Timers of established connections: overdue when they should have been done 15 minutes before.", "timer", "due"),
		at: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "finx_connector_connections_walk_timestamp_seconds",
			Help: "Unix time at which this process last ended a walk over all connections; 0 before the first.",
		}),
	}
	reg.MustRegister(m.states, m.left, m.ages, m.timers, m.at)
	m.set(newCensus(time.Time{}, 0))
	return m
}

// set publishes a census, with zero for whatever was not met.
func (m *censusMetrics) set(c *census) {
	for _, state := range connection.States() {
		m.states.WithLabelValues(string(state)).Set(float64(c.states[string(state)]))
	}
	for _, b := range leftBuckets() {
		m.left.WithLabelValues(b.label).Set(float64(c.left[b.label]))
	}
	for of, ages := range c.ages {
		for _, b := range append(ageBuckets(), bucket{label: ageNever}) {
			m.ages.WithLabelValues(of, b.label).Set(float64(ages[b.label]))
		}
	}
	for timer, n := range c.timers {
		for _, due := range []string{timerAhead, timerOverdue} {
			m.timers.WithLabelValues(timer, due).Set(float64(n[due]))
		}
	}
}

// counted publishes the census of a walk that was completed.
func (m *Metrics) counted(c *census) {
	if m != nil {
		m.census.set(c)
		m.census.at.Set(float64(time.Now().Unix()))
	}
}
