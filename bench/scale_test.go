package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/events"
)

// TestScaleMeasuresEveryFigure is a whole run, small: the real route, and three
// sizes on servers of their own.
func TestScaleMeasuresEveryFigure(t *testing.T) {
	code, stdout, stderr := bench(t, "scale", "-sizes", "100,200,300", "-real", "24", "-rest", "1s", "-o", "json")
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, stderr)
	}
	var got scaleReport
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Sizes) != 3 {
		t.Fatalf("%d sizes", len(got.Sizes))
	}
	for _, s := range got.Sizes {
		for _, f := range figureNames() {
			if _, ok := s.Figures[f.Name]; !ok {
				t.Errorf("%d connections: %s was not measured", s.Connections, f.Name)
			}
		}
		if n := s.Held[recordsStream].Messages; n != 2*uint64(s.Connections) {
			t.Errorf("%d connections have %d records and bindings", s.Connections, n)
		}
	}
	for _, name := range []string{"nats_disk_records", "nats_disk_timers", "vault_disk_data"} {
		if l := got.Lines[name]; l.Each < 100 || l.Each > 20_000 || l.Off > 0.2 {
			t.Errorf("%s: %+v", name, l)
		}
	}
	// One rotation, the accounts and one page: a scheduled fetch as the page tells it.
	for call, want := range map[string]float64{
		"finX POST /auth/token": 1, "finX GET /rest/accounts": 1, "finX GET /rest/accounts/{id}/transactions": 1,
		"Vault PUT data": 2, "NATS publish transactions.fetched": 1, "NATS timer finx.timer.sync": 1,
	} {
		if n := got.Real.Calls[call]; n != want {
			t.Errorf("%s: %.2f a fetch, want %.0f", call, n, want)
		}
	}
}

func TestFitFindsTheLine(t *testing.T) {
	l := fit([]float64{1000, 10_000, 100_000}, []float64{1500, 6000, 51_000}, 1e7)
	if math.Abs(l.Fixed-1000) > 1e-6 || math.Abs(l.Each-0.5) > 1e-9 || l.Off > 1e-9 || math.Abs(l.Carried-5_001_000) > 1e-3 {
		t.Errorf("%+v", l)
	}
	// What bends is no line, and says so.
	if l := fit([]float64{1000, 10_000, 100_000}, []float64{10, 1000, 100_000}, 1e7); l.Off < 0.5 {
		t.Errorf("a parabola passes for a line: %+v", l)
	}
}

func TestADirectLayoutThatDiffersIsNoMeasurement(t *testing.T) {
	of := func(bytes uint64) map[string]stored {
		return map[string]stored{recordsStream: {10, 10_000}, events.StreamTimers: {10, bytes}}
	}
	r := scaleReport{Real: realFigures{Held: of(8000)}, Sizes: []sizeFigures{{Held: of(8200)}}}
	if err := r.compare(); err != nil {
		t.Error(err)
	}
	r.Sizes[0].Held = of(9000)
	if err := r.compare(); err == nil || !strings.Contains(err.Error(), events.StreamTimers) {
		t.Errorf("a layout that is an eighth larger passes: %v", err)
	}
	r.Sizes[0].Held = nil
	if r.compare() == nil {
		t.Error("nothing passes for everything")
	}
}

func TestScaleRefuses(t *testing.T) {
	for _, args := range [][]string{{"-sizes", "1,2,3"}, {"-sizes", "1000,2000"}, {"-sizes", "1000,1000,1000"}, {"-real", "1"}, {"-o", "xml"}, {"more"}} {
		if code, _, stderr := bench(t, append([]string{"scale"}, args...)...); code != 2 || stderr == "" {
			t.Errorf("%v: exit code %d, %q", args, code, stderr)
		}
	}
}

func TestFiguresInShort(t *testing.T) {
	for _, c := range []struct {
		unit unit
		v    float64
		want string
	}{
		{inBytes, 512, "512 B"},
		{inBytes, 5 << 30, "5.0 GiB"},
		{inSeconds, 12e-6, "12 µs"},
		{inSeconds, 0.25, "250 ms"},
		{inSeconds, 123, "123.0 s"},
		{inSeconds, 7200, "120 min"},
		{aSecond, 590.4, "590 /s"},
		{inMicroseconds, 870, "870 µs"},
	} {
		if got := c.unit.text(c.v); got != c.want {
			t.Errorf("%v: %s, want %s", c.v, got, c.want)
		}
	}
	for v, want := range map[float64]string{100: "100", 1000: "1,000", 100_000: "100,000", 1e7: "10 million"} {
		if got := count(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
