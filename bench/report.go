package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// result is what was measured in a scenario.
type result struct {
	Scenario scenario          `json:"scenario"`
	Samples  map[side][]sample `json:"samples"` // by round
	Figures  []figures         `json:"figures"`
}

// report is all that a run of bench has to say.
type report struct {
	Environment []fact    `json:"environment"`
	Scenarios   []result  `json:"scenarios"`
	Wire        []wireRow `json:"wire,omitempty"`
	sides       []side
}

func (r report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// text writes the report as Markdown, which is as readable in a terminal.
func (r report) text(w io.Writer) error {
	var b bytes.Buffer
	for _, f := range r.Environment {
		fmt.Fprintf(&b, "- %s: %s\n", f.Name, f.Value)
	}
	for _, s := range r.Scenarios {
		s.write(&b)
	}
	if len(r.Wire) > 0 {
		r.writeWire(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (r result) write(b *bytes.Buffer) {
	unit, what := r.Scenario.unit(), "callback"
	if r.Scenario.Kind == streaming {
		what = "transaction"
	}
	ideal := r.Scenario.Latency > 0
	fmt.Fprintf(b, "\n**%s**\n\n| | %s/s | CPU µs a %s | at rest, MiB | peak, MiB |", upper(r.Scenario.String()), unit, what)
	if ideal {
		b.WriteString(" of slots ÷ latency |")
	}
	b.WriteString("\n|---|---|---|---|---|")
	if ideal {
		b.WriteString("---|")
	}
	b.WriteByte('\n')
	for _, f := range r.Figures {
		fmt.Fprintf(b, "| %s | %s | %s | %.0f | %.0f (%.0f–%.0f) |", f.Side, f.Rate.text(0), f.CPU.text(1), f.RestMiB.Median, f.PeakMiB.Median, f.PeakMiB.Min, f.PeakMiB.Max)
		if ideal {
			fmt.Fprintf(b, " %.2f |", f.Ideal)
		}
		b.WriteByte('\n')
		for _, to := range f.Ratios {
			fmt.Fprintf(b, "| %s ÷ %s | %s | %s | | |", f.Side, to.To, to.Rate.text(2), to.CPU.text(2))
			if ideal {
				b.WriteString(" |")
			}
			b.WriteByte('\n')
		}
	}
}

func (s spread) text(digits int) string {
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, s.Median, digits, s.Min, digits, s.Max)
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (r report) writeWire(b *bytes.Buffer) {
	b.WriteString("\n**Calls for one callback**\n\n| to | call |")
	for _, who := range r.sides {
		fmt.Fprintf(b, " %s |", who)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(r.sides)) + "\n")
	for _, to := range servers(r.Wire) {
		for _, row := range r.Wire {
			if row.To != to {
				continue
			}
			fmt.Fprintf(b, "| %s | `%s` |", to, row.Kind)
			for _, who := range r.sides {
				fmt.Fprintf(b, " %.2f |", row.Calls[who])
			}
			b.WriteByte('\n')
		}
		fmt.Fprintf(b, "| %s | **all** |", to)
		for _, who := range r.sides {
			fmt.Fprintf(b, " **%.2f** |", sum(r.Wire, to, who))
		}
		b.WriteByte('\n')
	}
}
