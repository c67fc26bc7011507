package app

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// says compares what the metrics of readiness say, by dependency, with "" for the
// process.
func says(t *testing.T, reg prometheus.Gatherer, want map[string]float64) {
	t.Helper()
	var text strings.Builder
	text.WriteString("# HELP finx_connector_dependency_ready 1 while this dependency lets the process take work, as of 15 seconds ago at most; what /readyz says. 0 before it was asked for the first time.\n# TYPE finx_connector_dependency_ready gauge\n")
	for _, name := range []string{"nats", "vault"} {
		text.WriteString("finx_connector_dependency_ready{dependency=\"" + name + "\"} " + number(want[name]) + "\n")
	}
	text.WriteString("# HELP finx_connector_ready 1 while this process takes work of every kind, as of 15 seconds ago at most; what /readyz says. 0 before it was asked for the first time.\n# TYPE finx_connector_ready gauge\nfinx_connector_ready " + number(want[""]) + "\n")
	if err := testutil.GatherAndCompare(reg, strings.NewReader(text.String())); err != nil {
		t.Error(err)
	}
}

func number(v float64) string {
	if v == 1 {
		return "1"
	}
	return "0"
}

// A scrape waits for no dependency, and asks none more often than need be.
func TestReadinessInTheMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var sealed atomic.Bool
		h := &health{checks: []check{
			{"nats", func(context.Context) error { asked.Add(1); return nil }},
			{"vault", func(context.Context) error {
				if sealed.Load() {
					return errors.New("sealed")
				}
				return nil
			}},
		}}
		reg := prometheus.NewRegistry()
		reg.MustRegister(newReadyCollector(h))
		says(t, reg, map[string]float64{"": 0, "nats": 0, "vault": 0})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go h.watch(ctx)
		synctest.Wait()
		says(t, reg, map[string]float64{"": 1, "nats": 1, "vault": 1})
		sealed.Store(true)
		time.Sleep(readyEvery)
		synctest.Wait()
		says(t, reg, map[string]float64{"": 0, "nats": 1, "vault": 0})
		sealed.Store(false)
		// Somebody who asks every ten seconds spares the process its own questions.
		asked.Store(0)
		for range 30 {
			time.Sleep(10 * time.Second)
			h.read(ctx)
		}
		if n := asked.Load(); n != 30 {
			t.Errorf("asked %d times, want 30", n)
		}
		says(t, reg, map[string]float64{"": 1, "nats": 1, "vault": 1})
		h.drain()
		says(t, reg, map[string]float64{"": 0, "nats": 1, "vault": 1})
	})
}
