package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
)

// discarded is one dead letter that was dropped, or would be.
type discarded struct {
	letterView
	Discarded bool   `json:"discarded"`
	Reason    string `json:"reason"`
	Why       string `json:"why,omitempty"` // it was not
}

// discardCommand are the flags of dlq discard.
type discardCommand struct {
	p      *program
	chosen letterSelection
	reason string
	yes    bool
	out    format
}

func (p *program) dlqDiscardCommand() *cobra.Command {
	d := &discardCommand{p: p}
	var c *cobra.Command
	c = p.withBroker(&cobra.Command{
		Use:   "discard {SEQ… | --class CLASS | … | --all} --reason TEXT",
		Short: "Drop dead letters for good",
		Long: `discard shows what it would drop, and drops it with --yes: the dead letter is deleted and
overwritten in the store. The original stays in the stream it came from.

The reason is kept for 90 days with who, when and which; "dlq log" shows it. Without the
right to keep it nothing is dropped.`,
		Example: `  finx-connector dlq discard 17 --reason "test event of the load test"
  finx-connector dlq discard 17 18 --reason "user asked again, see ticket 4711" --yes
  finx-connector dlq discard --class malformed --until 720h --reason "upstream has mended it" --yes`,
		PreRunE: func(_ *cobra.Command, args []string) error {
			if d.reason == "" {
				return usagef("--reason is missing: what is dropped for good has one")
			}
			return d.chosen.check(c, args)
		},
	}, func(ctx context.Context, b *broker, _ []string) error { return d.run(ctx, b) })
	d.chosen.flags(c)
	c.Flags().StringVar(&d.reason, "reason", "", "`text` that is kept of it (required)")
	c.Flags().BoolVar(&d.yes, "yes", false, "do it; without, only the plan is shown")
	d.out.flag(c)
	return c
}

func (d *discardCommand) run(ctx context.Context, b *broker) error {
	q, err := b.letters()
	if err != nil {
		return err
	}
	var seqs []uint64
	all, err := d.plan(ctx, q, &seqs)
	if err == nil && d.yes && len(seqs) > 0 {
		all, err = d.do(ctx, q, seqs)
	}
	return errors.Join(err, d.print(all, len(seqs)), notFound(all))
}

// plan says what would be dropped, and names all of it in seqs.
func (d *discardCommand) plan(ctx context.Context, q *dlq.Queue, seqs *[]uint64) ([]discarded, error) {
	all := []discarded{}
	err := d.chosen.each(ctx, q, func(l dlq.Letter, found bool) error {
		*seqs = append(*seqs, l.Sequence)
		if d.out.json() || len(all) < mostPlanned {
			all = append(all, d.one(l, found))
		}
		return nil
	})
	return all, err
}

func (d *discardCommand) one(l dlq.Letter, found bool) discarded {
	if !found {
		return discarded{letterView: letterView{Sequence: l.Sequence}, Reason: d.reason, Why: dlq.ErrNotFound.Error()}
	}
	return discarded{letterView: viewLetter(l), Reason: d.reason}
}

// do drops what is there and returns what it came to, one for each up to where it
// had to stop.
func (d *discardCommand) do(ctx context.Context, q *dlq.Queue, seqs []uint64) (all []discarded, err error) {
	all = []discarded{}
	log, err := begin(ctx, q, dlq.Note{Run: events.NewUUID(), Action: dlq.ActionDiscard, Reason: d.reason, Selection: d.chosen.text, Planned: len(seqs)})
	if err != nil {
		return all, fmt.Errorf("nothing was discarded: %w", err)
	}
	defer func() { err = errors.Join(err, log.end(ctx)) }()
	progress := d.p.progress(progressEvery, len(seqs))
	for i, seq := range seqs {
		l, err := q.Get(ctx, seq)
		if err == nil {
			err = q.Discard(context.WithoutCancel(ctx), seq) // what is dropped is in the note, whatever interrupts
		}
		if err != nil && !errors.Is(err, dlq.ErrNotFound) {
			return all, err
		}
		l.Sequence = seq
		one := d.one(l, err == nil)
		if one.Discarded = err == nil; one.Discarded {
			log.note.Add(l)
		}
		all = append(all, one)
		progress.reached(i+1, fmt.Sprintf("%d discarded", log.note.Done))
	}
	return all, nil
}

// print says what was done, or would be; chosen is how many there are in all.
func (d *discardCommand) print(all []discarded, chosen int) error {
	if d.out.json() {
		return writeJSON(d.p.stdout, all)
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
		fmt.Fprintln(d.p.stdout, printable(text))
	}
	switch {
	case chosen == 0:
		fmt.Fprintln(d.p.stdout, "no dead letter matches")
	case !d.yes:
		if more := chosen - len(all); more > 0 {
			fmt.Fprintf(d.p.stdout, "… and %d more; -o json shows all\n", more)
		}
		fmt.Fprintf(d.p.stdout, "%s; nothing was changed, --yes does it\n", counted(chosen, "dead letter"))
	default:
		fmt.Fprintf(d.p.stdout, "%d of %d dealt with\n", len(all), chosen)
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
