package consumer

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// liveCollector reads at the moment of the scrape what changes by itself: an age
// that is only written when something happens stands still exactly when nothing
// does.
type liveCollector struct {
	inFlight, oldest, ready, gate, hung *prometheus.Desc

	mu    sync.Mutex
	lanes map[string]*lane
}

func newLiveCollector() *liveCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, []string{"lane"}, nil)
	}
	return &liveCollector{
		inFlight: desc("in_flight", "Deliveries being handled."),
		oldest:   desc("oldest_unacked_seconds", "Age, since it was stored, of the oldest message being handled; 0 when there is none."),
		ready:    desc("lane_ready", "1 while the lane can take work."),
		gate:     desc("gate_closed", "1 while the lane takes nothing because a server it needs is away or throttles."),
		hung:     desc("hung_handlers", "Handlers that did not return when their time was over; each keeps its slot."),
		lanes:    map[string]*lane{},
	}
}

func (c *liveCollector) watch(l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lanes[l.Name] = l
}

// Describe implements prometheus.Collector.
func (c *liveCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.inFlight, c.oldest, c.ready, c.gate, c.hung} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *liveCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	lanes := maps.Clone(c.lanes)
	c.mu.Unlock()
	now := time.Now()
	for name, l := range lanes {
		s := l.state()
		for desc, value := range map[*prometheus.Desc]float64{
			c.inFlight: float64(l.inFlight.count()),
			c.oldest:   l.inFlight.oldest(now).Seconds(),
			c.ready:    oneIf(s.Ready),
			c.gate:     oneIf(l.closed() != ""),
			c.hung:     float64(s.Hung),
		} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, name)
		}
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
