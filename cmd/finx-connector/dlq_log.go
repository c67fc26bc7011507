package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/dlq"
)

func (p *program) dlqLogCommand() *cobra.Command {
	var out format
	c := p.withBroker(&cobra.Command{
		Use:   "log",
		Short: "Show who redrove and discarded dead letters, and why",
		Long: `log shows the notes that redrive and discard leave behind, the newest first: who, when, which
and why. They are in the bucket finx_control for 90 days. LEFT counts the chosen ones that
are still there; "under way" is also a run whose process was killed.`,
		Example: `  finx-connector dlq log
  finx-connector dlq log -o json`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, b *broker, _ []string) error {
		q, err := b.letters()
		if err != nil {
			return err
		}
		notes, newer, err := q.Notes(ctx)
		if err != nil {
			return err
		}
		if newer > 0 {
			fmt.Fprintf(p.stderr, "finx-connector: %s left out: written by a newer version\n", counted(newer, "note"))
		}
		return p.printNotes(out, notes)
	})
	out.flag(c)
	return c
}

func (p *program) printNotes(out format, notes []dlq.Note) error {
	if out.json() {
		if notes == nil {
			notes = []dlq.Note{}
		}
		return writeJSON(p.stdout, notes)
	}
	t := newTable(p.stdout, "AT", "BY", "ACTION", "DONE", "LEFT", "CHOSEN", "REASON")
	for _, n := range notes {
		left := fmt.Sprint(n.Left)
		if n.FinishedAt.IsZero() {
			left = "under way"
		}
		t.row(shown(n.StartedAt), n.By, n.Action, fmt.Sprint(n.Done), left, cut(n.Selection, 50), cut(n.Reason, 80))
	}
	return t.flush()
}
