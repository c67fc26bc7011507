package guard_test

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/finx-connector/finx-connector/internal/guard"
)

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		metrics := guard.NewMetrics(reg, "finx", "vault")
		if n, err := testutil.GatherAndCount(reg); err != nil || n != 16 {
			t.Errorf("%d series from the start, %v, want 8 of each server", n, err)
		}
		g := newGuard(t, guard.Config{Concurrency: 8, Failures: 1, Metrics: metrics})
		begin(t, t.Context(), g)(guard.Answer{Kind: guard.Away})
		for range 3 {
			if _, err := g.Begin(t.Context(), guard.Page); err == nil {
				t.Error("it is closed")
			}
		}
		want(t, reg, "open", 1)
		want(t, reg, "trips_total", 1)
		want(t, reg, "refused_calls_total", 3)
		want(t, reg, "probes_total", 0)

		time.Sleep(time.Second)
		begin(t, t.Context(), g)(guard.Answer{Kind: guard.Alive})
		want(t, reg, "open", 0)
		want(t, reg, "probes_total", 1)
		want(t, reg, "calls_limit", 1)

		end := begin(t, t.Context(), g)
		queued := make(chan func(guard.Answer))
		go func() { queued <- begin(t, t.Context(), g) }()
		time.Sleep(7 * time.Second)
		want(t, reg, "calls_in_flight", 1)
		want(t, reg, "queue_length", 1)
		end(guard.Answer{Kind: guard.Alive})
		(<-queued)(guard.Answer{Kind: guard.Alive})
		want(t, reg, "calls_in_flight", 0)
		want(t, reg, "queue_length", 0)
		want(t, reg, "calls_limit", 3)
		text := gather(t, reg)
		for _, line := range []string{`queue_wait_seconds_sum{server="finx"} 7`, `queue_wait_seconds_count{server="finx"} 3`} {
			if !strings.Contains(text, line) {
				t.Errorf("no %s in\n%s", line, text)
			}
		}
	})
}

// want compares one metric of finx.
func want(t *testing.T, reg *prometheus.Registry, name string, value float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "finx_connector_guard_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() != "finx" {
				continue
			}
			if got := m.GetGauge().GetValue() + m.GetCounter().GetValue(); got != value {
				t.Errorf("%s is %v, want %v", name, got, value)
			}
			return
		}
	}
	t.Errorf("no %s of finx", name)
}

func gather(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	var b strings.Builder
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if h := m.GetHistogram(); h != nil {
				labels := `{server="` + m.GetLabel()[0].GetValue() + `"} `
				b.WriteString(f.GetName() + "_sum" + labels + number(h.GetSampleSum()) + "\n")
				b.WriteString(f.GetName() + "_count" + labels + number(float64(h.GetSampleCount())) + "\n")
			}
		}
	}
	return b.String()
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
