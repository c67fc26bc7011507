package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/dlq"
)

func (p *program) dlqListCommand() *cobra.Command {
	var (
		out     format
		chosen  letterFilter
		filter  dlq.Filter
		limit   int
		summary bool
	)
	c := p.withBroker(&cobra.Command{
		Use:   "list",
		Short: "List dead letters, the newest last",
		Long: `list shows why events were given up, one line each; --summary counts them by class and
event, with the age of the oldest. The body is not shown; "dlq show" does that.

--connection and --user find connect requests, erasures and those callbacks whose state is
known; --connection also syncs, which name no user.`,
		Example: `  finx-connector dlq list
  finx-connector dlq list --summary
  finx-connector dlq list --class malformed --since 24h
  finx-connector dlq list --until 168h --user me
  finx-connector dlq list --subject callback.received --limit 0 -o json`,
		Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) (err error) {
			if limit < 0 {
				return usagef("--limit must be 0 or more")
			}
			filter, err = chosen.filter(time.Now())
			return err
		},
	}, func(ctx context.Context, b *broker, _ []string) error {
		q, err := b.letters()
		if err != nil {
			return err
		}
		if summary {
			return p.summarizeLetters(ctx, out, q, filter)
		}
		views, total := []letterView{}, 0
		err = q.Each(ctx, filter, func(l dlq.Letter) error {
			total++
			views = append(views, viewLetter(l))
			if limit > 0 && len(views) > 2*limit { // keep the newest, without moving them each time
				views = append(views[:0], views[len(views)-limit:]...)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if limit > 0 {
			views = views[max(0, len(views)-limit):]
		}
		if err := p.printLetters(out, views); err != nil {
			return err
		}
		if len(views) < total {
			fmt.Fprintf(p.stderr, "finx-connector: the newest %d of %d shown; --limit 0 shows all\n", len(views), total)
		}
		return nil
	})
	chosen.flags(c)
	c.Flags().BoolVar(&summary, "summary", false, "count them by class and event, with the oldest of each")
	c.Flags().IntVar(&limit, "limit", 100, "how many to show at most, the newest; 0: all")
	out.flag(c)
	return c
}

func (p *program) printLetters(out format, views []letterView) error {
	if out.json() {
		return writeJSON(p.stdout, views)
	}
	t := newTable(p.stdout, letterHeads()...)
	for _, v := range views {
		t.row(v.cells()...)
	}
	return t.flush()
}
