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
	inFlight, oldest *prometheus.Desc

	mu    sync.Mutex
	lanes map[string]*inFlight
}

func newLiveCollector() *liveCollector {
	return &liveCollector{
		inFlight: prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "in_flight"),
			"Deliveries being handled.", []string{"lane"}, nil),
		oldest: prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "oldest_unacked_seconds"),
			"Age, since it was stored, of the oldest message being handled; 0 when there is none.", []string{"lane"}, nil),
		lanes: map[string]*inFlight{},
	}
}

func (c *liveCollector) watch(lane string, f *inFlight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lanes[lane] = f
}

// Describe implements prometheus.Collector.
func (c *liveCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.inFlight
	ch <- c.oldest
}

// Collect implements prometheus.Collector.
func (c *liveCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	lanes := maps.Clone(c.lanes)
	c.mu.Unlock()
	now := time.Now()
	for lane, f := range lanes {
		ch <- prometheus.MustNewConstMetric(c.inFlight, prometheus.GaugeValue, float64(f.count()), lane)
		ch <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, f.oldest(now).Seconds(), lane)
	}
}
