package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// readyEvery is how old what the metrics say of readiness may be. Whoever asks
// /readyz more often than that saves the process its own question.
const readyEvery = 15 * time.Second

// readyCollector shows the last readiness that was found out, so that a scrape waits
// for no dependency.
type readyCollector struct {
	*health

	ready, dependency *prometheus.Desc
}

func newReadyCollector(h *health) readyCollector {
	const old = ", as of 15 seconds ago at most; what /readyz says. 0 before it was asked for the first time."
	return readyCollector{
		health:     h,
		ready:      prometheus.NewDesc("finx_connector_ready", "1 while this process takes work of every kind"+old, nil, nil),
		dependency: prometheus.NewDesc("finx_connector_dependency_ready", "1 while this dependency lets the process take work"+old, []string{"dependency"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c readyCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.ready
	ch <- c.dependency
}

// Collect implements prometheus.Collector.
func (c readyCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	last, draining := c.last, c.draining
	c.mu.Unlock()
	known := map[string]bool{}
	for _, d := range last.Dependencies {
		known[d.Name] = d.Ready
	}
	for _, one := range c.checks {
		ch <- prometheus.MustNewConstMetric(c.dependency, prometheus.GaugeValue, oneIf(known[one.name]), one.name)
	}
	ch <- prometheus.MustNewConstMetric(c.ready, prometheus.GaugeValue, oneIf(last.Ready && !draining))
}

// watch finds out readiness until ctx ends, when nobody else has asked lately.
func (h *health) watch(ctx context.Context) {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		h.mu.Lock()
		fresh := !h.lastAt.IsZero() && time.Since(h.lastAt) < readyEvery
		h.mu.Unlock()
		if !fresh {
			h.read(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
