package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/dlq"
)

// discarded is one dead letter that was dropped, or would be.
type discarded struct {
	letterView
	Discarded bool   `json:"discarded"`
	Reason    string `json:"reason"`
	Why       string `json:"why,omitempty"` // it was not
}

func (p *program) dlqDiscardCommand() *cobra.Command {
	var (
		out    format
		reason string
		yes    bool
		seqs   []uint64
	)
	c := p.withBroker(&cobra.Command{
		Use:   "discard SEQ… --reason TEXT",
		Short: "Drop dead letters for good",
		Long: `discard shows what it would drop, and drops it with --yes: the dead letter is deleted and
overwritten in the store. The original stays in the stream it came from. What was dropped is
printed with the reason; keep that output where such decisions are kept.`,
		Example: `  finx-connector dlq discard 17 --reason "test event of the load test"
  finx-connector dlq discard 17 18 --reason "user asked again, see ticket 4711" --yes`,
		Args: cobra.MinimumNArgs(1),
		PreRunE: func(_ *cobra.Command, args []string) (err error) {
			if reason == "" {
				return usagef("--reason is missing: what is dropped for good has one")
			}
			seqs, err = sequences(args)
			return err
		},
	}, func(ctx context.Context, b *broker, _ []string) error {
		q, err := b.letters()
		if err != nil {
			return err
		}
		all, err := discard(ctx, q, seqs, reason, yes)
		return errors.Join(err, p.printDiscarded(out, all, yes), notFound(all))
	})
	c.Flags().StringVar(&reason, "reason", "", "`text` that is printed with each (required)")
	c.Flags().BoolVar(&yes, "yes", false, "do it; without, only the plan is shown")
	out.flag(c)
	return c
}

// discard drops what is there and returns what it came to, one for each
// sequence up to where it had to stop.
func discard(ctx context.Context, q *dlq.Queue, seqs []uint64, reason string, yes bool) ([]discarded, error) {
	all := []discarded{}
	for _, seq := range seqs {
		one := discarded{letterView: letterView{Sequence: seq}, Reason: reason}
		l, err := q.Get(ctx, seq)
		if err == nil {
			one.letterView = viewLetter(l)
			if yes {
				err = q.Discard(ctx, seq)
				one.Discarded = err == nil
			}
		}
		switch {
		case errors.Is(err, dlq.ErrNotFound):
			one.Why = dlq.ErrNotFound.Error()
		case err != nil:
			return all, err
		}
		all = append(all, one)
	}
	return all, nil
}

func (p *program) printDiscarded(out format, all []discarded, yes bool) error {
	if out.json() {
		return writeJSON(p.stdout, all)
	}
	for _, one := range all {
		text := fmt.Sprintf("%d: %s", one.Sequence, one.Why)
		if one.Why == "" {
			verb := "would discard"
			if one.Discarded {
				verb = "discarded"
			}
			text = fmt.Sprintf("%s %d (%s, %s, original %s %d): %s", verb, one.Sequence, one.Class, one.Subject, one.Stream, one.Original, one.Reason)
		}
		fmt.Fprintln(p.stdout, printable(text))
	}
	if !yes {
		fmt.Fprintln(p.stdout, "nothing was changed, --yes does it")
	}
	return nil
}

func notFound(all []discarded) error {
	n := 0
	for _, one := range all {
		if one.Why != "" {
			n++
		}
	}
	if n > 0 {
		return fmt.Errorf("dlq: %s not found", counted(n, "dead letter"))
	}
	return nil
}
