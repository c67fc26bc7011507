package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// module is where the programs are found.
const module = "github.com/finx-connector/finx-connector"

// side is who is measured.
type side string

// ours is the connector; bare is the least that does the job; same makes every
// outside call that ours makes, and nothing of its own besides.
const (
	ours side = "ours"
	bare side = "bare"
	same side = "same"
)

func allSides() []side { return []side{ours, bare, same} }

// harness builds the programs and runs them.
type harness struct {
	cfg      config
	dir      string // of everything that is written; the caller removes it
	progress io.Writer

	self, ours, floor string // programs
}

func (h *harness) sayf(format string, args ...any) { fmt.Fprintf(h.progress, format+"\n", args...) }

// build makes the programs that are measured.
func (h *harness) build(ctx context.Context) error {
	var err error
	if h.self, err = os.Executable(); err != nil {
		return fmt.Errorf("finding this program, which is the broker too: %w", err)
	}
	h.ours = h.cfg.connector
	oursFrom := "/cmd/finx-connector"
	if h.cfg.profile != "" {
		oursFrom = "/bench/profiled"
		if err := os.MkdirAll(h.cfg.profile, 0o755); err != nil { //nolint:gosec // profiles are no secrets
			return fmt.Errorf("making the directory of profiles: %w", err)
		}
	}
	if h.ours == "" || h.cfg.profile != "" {
		if h.ours, err = h.compile(ctx, oursFrom); err != nil {
			return err
		}
	}
	h.floor, err = h.compile(ctx, "/bench/floor")
	return err
}

func (h *harness) compile(ctx context.Context, below string) (string, error) {
	out := filepath.Join(h.dir, filepath.Base(below))
	h.sayf("building %s", below[1:])
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", out, module+below) //nolint:gosec // one of three names of our own
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", below[1:], err, said)
	}
	return out, nil
}

// sample is one run of one side.
type sample struct {
	Seconds float64 `json:"seconds"`     // from the first callback to the last whole fetch
	CPU     float64 `json:"cpu_seconds"` // user and system time of the process within
	Rest    int64   `json:"rest_bytes"`  // resident when it was ready and had done nothing
	Peak    int64   `json:"peak_bytes"`  // resident at most
}

// scenario measures every side in every round, in another order each round, and
// leaves the first round out.
func (h *harness) scenario(ctx context.Context, s scenario) (result, error) {
	h.sayf("%s", s)
	want, err := record(ctx, s)
	if err != nil {
		return result{}, fmt.Errorf("asking the sandbox for its data: %w", err)
	}
	r := result{Scenario: s, Samples: map[side][]sample{}}
	for round := range h.cfg.rounds + 1 {
		for i := range h.cfg.sides {
			who := h.cfg.sides[(i+round)%len(h.cfg.sides)]
			got, err := h.measure(ctx, s, who, want)
			if err != nil {
				return r, fmt.Errorf("round %d, %s: %w", round, who, err)
			}
			name := fmt.Sprintf("round %d of %d", round, h.cfg.rounds)
			if round == 0 {
				name = "warm-up"
			} else {
				r.Samples[who] = append(r.Samples[who], got)
			}
			h.sayf("  %s, %-4s %8.0f %s/s, %6.3f s CPU, %d MB peak", name, who, s.rate(got.Seconds), s.unit(), got.CPU, got.Peak>>20)
		}
	}
	r.Figures = r.figuresOf(h.cfg.sides)
	return r, nil
}

// unit is what a scenario counts.
func (s scenario) unit() string {
	if s.Kind == streaming {
		return "transactions"
	}
	return "callbacks"
}

// amount is how many units a run has.
func (s scenario) amount() int {
	if s.Kind == streaming {
		return s.Transactions
	}
	return s.Events
}

func (s scenario) rate(seconds float64) float64 { return float64(s.amount()) / seconds }
