package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
)

// redriveCommand are the flags of dlq redrive.
type redriveCommand struct {
	p          *program
	chosen     letterSelection
	yes, force bool
	rate       float64
	reason     string
	out        format
}

func (p *program) dlqRedriveCommand() *cobra.Command {
	r := &redriveCommand{p: p}
	var c *cobra.Command
	c = p.withBroker(&cobra.Command{
		Use:   "redrive {SEQ… | --class CLASS | --subject SUBJECT | --since TIME | … | --all}",
		Short: "Put the events of dead letters back on their way",
		Long: `redrive shows what it would do, and does it with --yes: it publishes each event to its
original subject under a new Nats-Msg-Id and with its own id and time, so that what was done
already is not done again, and deletes the dead letter when the stream has the event.

A callback, and an event whose body was withheld, is read again from the stream it came from:
the dead letter has no code. When it is gone there, the dead letter is refused and stays.
So is one that this version still finds malformed, unless --force is given, and one that the
stream calls a duplicate. Exit code 1 when any was not redriven.

It may be interrupted at any time: it says what was done, and the same command goes on with
the rest. "dlq log" shows who redrove what.`,
		Example: `  finx-connector dlq redrive 17 18
  finx-connector dlq redrive 17 18 --yes
  finx-connector dlq redrive --class outage --rate 20 --yes`,
		PreRunE: func(_ *cobra.Command, args []string) error { return r.check(c, args) },
	}, func(ctx context.Context, b *broker, _ []string) error { return r.run(ctx, b) })
	r.chosen.flags(c)
	c.Flags().BoolVar(&r.yes, "yes", false, "do it; without, only the plan is shown")
	c.Flags().BoolVar(&r.force, "force", false, "also what this version still finds malformed")
	c.Flags().Float64Var(&r.rate, "rate", 50, "events a second at most")
	c.Flags().StringVar(&r.reason, "reason", "", "`text` that is kept with the note of this run")
	r.out.flag(c)
	return c
}

func (r *redriveCommand) check(c *cobra.Command, args []string) error {
	if err := r.chosen.check(c, args); err != nil {
		return err
	}
	return checkRate(r.rate)
}

// redriven is one dead letter of the plan, and with --yes what became of it.
type redriven struct {
	letterView
	Action         string `json:"action"` // redrive, refuse; with --yes: redriven, kept
	Why            string `json:"why,omitempty"`
	Refetched      bool   `json:"refetched,omitempty"`
	StoredStream   string `json:"stored_stream,omitempty"`
	StoredSequence uint64 `json:"stored_sequence,omitempty"`
}

// What is to be done with a dead letter, and what was.
const (
	actionRedrive  = "redrive"
	actionRefuse   = "refuse"
	actionRedriven = "redriven"
	actionKept     = "kept"
)

func (r *redriveCommand) run(ctx context.Context, b *broker) error {
	q, err := b.letters()
	if err != nil {
		return err
	}
	job := &redriveJob{redriveCommand: r, queue: q, run: events.NewUUID(), tell: progressEvery}
	if r.out.json() {
		return job.runJSON(ctx)
	}
	return job.runTable(ctx)
}

// redriveJob is one run.
type redriveJob struct {
	*redriveCommand
	queue *dlq.Queue
	run   string // makes the ids of this run new
	count struct{ redriven, left int }
	tell  time.Duration // between two words on how far it is
}

// plan goes through the chosen dead letters, says of each what is to be done, and
// returns their sequences: bodies of thousands would not fit.
func (j *redriveJob) plan(ctx context.Context, show func(redriven)) (seqs []uint64, err error) {
	err = j.chosen.each(ctx, j.queue, func(l dlq.Letter, found bool) error {
		one, _, err := j.prepare(ctx, l, found)
		if err != nil {
			return err
		}
		seqs = append(seqs, l.Sequence)
		show(one)
		return nil
	})
	return seqs, err
}

// prepare finds the event of a dead letter and says what is to be done.
func (j *redriveJob) prepare(ctx context.Context, l dlq.Letter, found bool) (redriven, dlq.Event, error) {
	if !found {
		return redriven{letterView: letterView{Sequence: l.Sequence}, Action: actionRefuse, Why: dlq.ErrNotFound.Error()}, dlq.Event{}, nil
	}
	out := redriven{letterView: viewLetter(l), Action: actionRedrive}
	e, err := j.queue.Prepare(ctx, l)
	if refused, is := errors.AsType[*dlq.RefusedError](err); is {
		out.Action, out.Why = actionRefuse, refused.Why
		return out, e, nil
	}
	out.Refetched = e.Refetched
	if e.Wrong != nil {
		out.Why = "still malformed: " + e.Wrong.Error()
		if !j.force {
			out.Action = actionRefuse
			out.Why += " (--force sends it all the same)"
		}
	}
	return out, e, err
}

// act redrives what is to be redriven; an error is the end of the run.
func (j *redriveJob) act(ctx context.Context, one redriven, e dlq.Event) (redriven, error) {
	if one.Action == actionRefuse {
		one.Action = actionKept
		j.count.left++
		return one, nil
	}
	receipt, err := j.queue.Redrive(ctx, e, j.run)
	one.StoredStream, one.StoredSequence = receipt.Stream, receipt.Sequence
	switch {
	case err == nil:
		one.Action = actionRedriven
		j.count.redriven++
	case receipt.Kept:
		one.Action, one.Why = actionRedriven, "its dead letter is still there, discard it: "+err.Error()
		j.count.redriven++
		j.count.left++
	default:
		one.Action, one.Why = actionKept, err.Error()
		j.count.left++
		if ctx.Err() != nil {
			return one, ctx.Err()
		}
	}
	return one, nil
}

// do redrives the planned dead letters, no faster than the rate. show is told of
// each what became of it.
func (j *redriveJob) do(ctx context.Context, seqs []uint64, show func(redriven) error) (err error) {
	log, noteErr := begin(ctx, j.queue, dlq.Note{Run: j.run, Action: dlq.ActionRedrive, Reason: j.reason, Selection: j.chosen.text, Planned: len(seqs)})
	if noteErr != nil {
		// What has waited for somebody to redrive it must not wait for the note.
		fmt.Fprintf(j.p.stderr, "finx-connector: no note is kept of this run: %v\n", noteErr)
	}
	defer func() { err = errors.Join(err, log.end(ctx)) }()
	pace := time.NewTicker(time.Duration(float64(time.Second) / j.rate))
	defer pace.Stop()
	progress := j.p.progress(j.tell, len(seqs))
	for i, seq := range seqs {
		if i > 0 {
			select {
			case <-pace.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		l, err := j.queue.Get(ctx, seq)
		if err != nil && !errors.Is(err, dlq.ErrNotFound) {
			return err
		}
		found := err == nil
		l.Sequence = seq
		one, e, err := j.prepare(ctx, l, found)
		if err != nil {
			return err
		}
		one, stopped := j.act(ctx, one, e)
		if one.Action == actionRedriven {
			log.note.Add(l)
		}
		if err := show(one); err != nil || stopped != nil {
			return errors.Join(stopped, err)
		}
		progress.reached(i+1, fmt.Sprintf("%d redriven, %d left", j.count.redriven, j.count.left))
	}
	return nil
}

// result is nil when all was done that was asked for.
func (j *redriveJob) result() error {
	if j.count.left > 0 {
		return fmt.Errorf("dlq: %s not redriven or not deleted", counted(j.count.left, "dead letter"))
	}
	return nil
}
