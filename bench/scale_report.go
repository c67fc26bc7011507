package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"
)

// scaleReport is all that one run measured.
type scaleReport struct {
	Config      scaleConfig     `json:"-"`
	Environment []fact          `json:"environment"`
	Real        realFigures     `json:"real"`
	Sizes       []sizeFigures   `json:"sizes"`
	Lines       map[string]line `json:"lines"`
}

func scaleEnvironment(ctx context.Context) []fact {
	return []fact{
		{"date", time.Now().UTC().Format(time.DateOnly)},
		{"commit", commit(ctx)},
		{"machine", fmt.Sprintf("%d shared cores, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)},
		{"load before", load()},
		{"Go", runtime.Version()},
		{"broker", "nats-server " + dependency("github.com/nats-io/nats-server/v2") + ", one process, file storage, one replica"},
		{"Vault", "the core, raft storage, one process"},
	}
}

func (r scaleReport) json(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

func (r scaleReport) text(w io.Writer) error {
	var b bytes.Buffer
	for _, f := range r.Environment {
		fmt.Fprintf(&b, "- %s: %s\n", f.Name, f.Value)
	}
	r.writeSizes(&b)
	r.writeReal(&b)
	_, err := w.Write(b.Bytes())
	return err
}

func (r scaleReport) writeSizes(b *bytes.Buffer) {
	b.WriteString("\n**What was measured, and the line through it**\n\n| |")
	for _, s := range r.Sizes {
		fmt.Fprintf(b, " %s |", count(float64(s.Connections)))
	}
	fmt.Fprintf(b, " fixed | each connection | off by | at %s |\n|---|", count(float64(r.Config.carry)))
	b.WriteString(strings.Repeat("---|", len(r.Sizes)+4) + "\n")
	for _, f := range figureNames() {
		fmt.Fprintf(b, "| %s |", f.Says)
		for _, s := range r.Sizes {
			fmt.Fprintf(b, " %s |", f.unit.text(s.Figures[f.Name]))
		}
		l, ok := r.Lines[f.Name]
		if !ok {
			b.WriteString(" | | | |\n")
			continue
		}
		fmt.Fprintf(b, " %s | %s | %.0f %% | %s |\n", f.unit.text(l.Fixed), f.unit.text(l.Each), 100*l.Off, f.unit.text(l.Carried))
	}
}

func (r scaleReport) writeReal(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n**By the real route** (%s connections): a record has %d bytes of JSON, a secret %d. ", count(float64(r.Real.Connections)), r.Real.RecordBytes, r.Real.SecretBytes)
	fmt.Fprintf(b, "A scheduled fetch (rotation, accounts, one page of %d transactions) takes %.0f µs CPU of the connector and adds to the streams:\n\n| stream | bytes |\n|---|---|\n", scheduledTransactions, r.Real.CPU)
	for _, name := range slices.Sorted(maps.Keys(r.Real.PerFetch)) {
		if bytes := r.Real.PerFetch[name]; bytes > 1 {
			fmt.Fprintf(b, "| `%s` | %.0f |\n", name, bytes)
		}
	}
	b.WriteString("\nand makes these calls:\n\n| call | a fetch |\n|---|---|\n")
	totals := map[string]float64{}
	for _, call := range slices.Sorted(maps.Keys(r.Real.Calls)) {
		to, kind, _ := strings.Cut(call, " ")
		totals[to] += r.Real.Calls[call]
		if n := r.Real.Calls[call]; n >= 0.005 {
			fmt.Fprintf(b, "| %s `%s` | %.2f |\n", to, kind, n)
		}
	}
	for _, to := range slices.Sorted(maps.Keys(totals)) {
		fmt.Fprintf(b, "| %s **all** | **%.2f** |\n", to, totals[to])
	}
}

// text is a value with its unit, to three digits.
func (u unit) text(v float64) string {
	switch u {
	case inSeconds:
		switch {
		case v != 0 && v < 1e-3 && v > -1e-3:
			return fmt.Sprintf("%.3g µs", v*1e6)
		case v < 1 && v > -1:
			return fmt.Sprintf("%.3g ms", v*1e3)
		case v >= 600:
			return fmt.Sprintf("%.0f min", v/60)
		}
		return fmt.Sprintf("%.1f s", v)
	case aSecond:
		return fmt.Sprintf("%.0f /s", v)
	case inMicroseconds:
		return fmt.Sprintf("%.0f µs", v)
	case inBytes:
	}
	for _, step := range []struct {
		size float64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if v >= step.size || v <= -step.size {
			return fmt.Sprintf("%.1f %s", v/step.size, step.name)
		}
	}
	return fmt.Sprintf("%.0f B", v)
}

// count writes a large number in short.
func count(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%g million", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%g,%03d", float64(int(v)/1000), int(v)%1000)
	}
	return fmt.Sprintf("%.0f", v)
}
