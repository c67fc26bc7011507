package consumer

import (
	"maps"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// liveCollector reads at the moment of the scrape what changes by itself: an age
// that is only written when something happens stands still exactly when nothing
// does.
type liveCollector struct {
	gauges []liveGauge

	mu    sync.Mutex
	lanes map[string]*lane // nil until the lane is there
}

// liveGauge is one value of each lane.
type liveGauge struct {
	desc *prometheus.Desc
	read func(liveLane) float64
	none float64 // before the lane is there
}

// liveLane is a lane at the moment of the scrape.
type liveLane struct {
	*lane
	now     time.Time
	status  LaneStatus
	backlog backlogNow
}

func newLiveCollector() *liveCollector {
	c := &liveCollector{lanes: map[string]*lane{}}
	add := func(name, help string, none float64, read func(liveLane) float64) {
		desc := prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, []string{"lane"}, nil)
		c.gauges = append(c.gauges, liveGauge{desc, read, none})
	}
	add("in_flight", "Deliveries being handled by this process.", 0, func(l liveLane) float64 { return float64(l.inFlight.count()) })
	add("oldest_unacked_seconds", "Age, since it was stored, of the oldest message being handled by this process; 0 when there is none.", 0,
		func(l liveLane) float64 { return l.inFlight.oldest(l.now).Seconds() })
	add("lane_ready", "1 while the lane can take work.", 0, func(l liveLane) float64 { return oneIf(l.status.Ready) })
	add("gate_closed", "1 while the lane takes nothing because a server it needs is away or throttles.", 0,
		func(l liveLane) float64 { return oneIf(l.closed() != "") })
	add("hung_handlers", "Handlers that did not return when their time was over; each keeps its slot.", 0,
		func(l liveLane) float64 { return float64(l.status.Hung) })
	add("slots", "Deliveries that this process handles at the same time at most.", 0, func(l liveLane) float64 { return float64(l.Slots) })

	const asked = ", as the server said a minute ago at most; the same on every replica, so take the max. NaN before it has answered."
	add("waiting_messages", "Messages that no replica has taken yet, parked ones not included"+asked, math.NaN(), func(l liveLane) float64 { return l.backlog.waiting })
	add("unsettled_messages", "Messages that some replica has taken and not settled, delayed ones included"+asked, math.NaN(), func(l liveLane) float64 { return l.backlog.unacked })
	add("oldest_unsettled_seconds", "Age, since it was stored, of the oldest message that no replica has settled, taken or not, parked ones not included; 0 when there is none"+asked,
		math.NaN(), func(l liveLane) float64 { return l.backlog.oldest })
	add("backlog_timestamp_seconds", "Unix time of the server's last answer about what waits; 0 before the first.", 0, func(l liveLane) float64 { return l.backlog.asked })
	return c
}

func (c *liveCollector) prepare(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lanes[name] = nil
}

func (c *liveCollector) watch(l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lanes[l.Name] = l
}

// Describe implements prometheus.Collector.
func (c *liveCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, g := range c.gauges {
		ch <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (c *liveCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	lanes := maps.Clone(c.lanes)
	c.mu.Unlock()
	now := time.Now()
	for name, l := range lanes {
		var live liveLane
		if l != nil {
			live = liveLane{lane: l, now: now, status: l.state(), backlog: l.backlog.get(now)}
		}
		for _, g := range c.gauges {
			value := g.none
			if l != nil {
				value = g.read(live)
			}
			ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, value, name)
		}
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
