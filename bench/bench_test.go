package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test program be the broker, as bench itself is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == brokerCommand {
		os.Exit(brokerMain(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// bench runs the program with further flags and returns what it printed.
func bench(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// TestMeasuresBothSides is a whole run, small: both programs as processes, every
// output checked, figures and calls of each.
func TestMeasuresBothSides(t *testing.T) {
	code, stdout, stderr := bench(t, "-rounds", "1", "-callbacks", "8", "-transactions", "3000", "-latency", "1ms", "-slots", "8", "-o", "json")
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, stderr)
	}
	var got report
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Scenarios) != 2 {
		t.Fatalf("%d scenarios, want callbacks and streaming", len(got.Scenarios))
	}
	for _, s := range got.Scenarios {
		for _, who := range allSides() {
			samples := s.Samples[who]
			if len(samples) != 1 || samples[0].Seconds <= 0 || samples[0].Peak < samples[0].Rest/2 || samples[0].Rest < 1<<20 {
				t.Errorf("%s, %s: %+v", s.Scenario, who, samples)
			}
		}
	}
	for _, who := range allSides() {
		if n := sum(got.Wire, "finX", who); n != finXCalls {
			t.Errorf("%s calls finX %.2f times for a callback, want %d", who, n, finXCalls)
		}
		if sum(got.Wire, "Vault", who) < 1 || sum(got.Wire, "NATS", who) < 4 {
			t.Errorf("%s: calls were not counted: %+v", who, got.Wire)
		}
	}
}

// TestNoFiguresForWrongOutput loses one transaction on the way: whoever is fast
// because it does half the job must not look good.
func TestNoFiguresForWrongOutput(t *testing.T) {
	for _, kind := range []string{callbacks, streaming} {
		t.Run(kind, func(t *testing.T) {
			code, stdout, stderr := bench(t, "-rounds", "1", "-callbacks", "4", "-transactions", "3000", "-latency", "0", "-slots", "4",
				"-sides", "bare", "-only", kind, "-wire=false", "-sabotage")
			if code != 1 || stdout != "" || !strings.Contains(stderr, "wrong output") {
				t.Errorf("exit code %d, printed %q, said %q", code, stdout, stderr)
			}
		})
	}
}

// TestProfiles shows that a profile of ours comes out of a run.
func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	code, _, stderr := bench(t, "-rounds", "1", "-callbacks", "4", "-latency", "0", "-slots", "4", "-sides", "ours", "-only", callbacks, "-wire=false", "-profile", dir)
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, stderr)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pprof"))
	if err != nil || len(files) != 1 {
		t.Fatalf("profiles %v, %v", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Size() == 0 {
		t.Errorf("an empty profile, %v", err)
	}
}

func TestWrongUsage(t *testing.T) {
	for name, args := range map[string][]string{
		"an argument":         {"fast"},
		"unknown flag":        {"--fast"},
		"no rounds":           {"-rounds", "0"},
		"too many":            {"-transactions", "2000000"},
		"slots":               {"-slots", "1"},
		"all for callbacks":   {"-slots", "8", "-callback-slots", "8"},
		"latency":             {"-latency", "soon"},
		"unknown side":        {"-sides", "ours,theirs"},
		"a side twice":        {"-sides", "ours,ours"},
		"another vault":       {"-vault", "safe"},
		"unknown output":      {"-o", "xml"},
		"unknown kind":        {"-only", "links"},
		"pages of nothing":    {"-page", "0"},
		"callbacks of nobody": {"-callbacks", "-1"},
	} {
		t.Run(name, func(t *testing.T) {
			if code, _, stderr := bench(t, args...); code != 2 || stderr == "" {
				t.Errorf("exit code %d, said %q", code, stderr)
			}
		})
	}
}

func TestFigures(t *testing.T) {
	r := result{
		Scenario: scenario{Kind: callbacks, Slots: 16, Latency: 50 * time.Millisecond, Events: 100},
		Samples: map[side][]sample{
			ours: {{Seconds: 2, CPU: 0.3, Rest: 1 << 20, Peak: 4 << 20}, {Seconds: 4, CPU: 0.2}, {Seconds: 2.5, CPU: 0.1}},
			bare: {{Seconds: 1, CPU: 0.1}, {Seconds: 2, CPU: 0.1}, {Seconds: 2, CPU: 0.1}},
		},
	}
	f := r.figuresOf([]side{ours, bare})
	if f[0].Rate != (spread{Median: 40, Min: 25, Max: 50}) || f[0].CPU.Median != 2000 || f[0].PeakMiB.Max != 4 {
		t.Errorf("figures of ours: %+v", f[0])
	}
	if f[0].Ideal != 0.5 { // 16 slots and four calls of 50 ms make 80 a second
		t.Errorf("%.2f of the ideal, want 0.5", f[0].Ideal)
	}
	want := ratios{To: bare, Rate: spread{Median: 0.5, Min: 0.5, Max: 0.8}, CPU: spread{Median: 2, Min: 1, Max: 3}}
	if len(f[0].Ratios) != 1 || f[0].Ratios[0].To != want.To || f[0].Ratios[0].Rate != want.Rate || f[0].Ratios[0].CPU.Median != want.CPU.Median {
		t.Errorf("ratios %+v, want %+v", f[0].Ratios, want)
	}
	if even := spreadOf([]float64{4, 1, 3, 2}); even.Median != 2.5 {
		t.Errorf("median of an even number of figures: %v", even.Median)
	}
}
