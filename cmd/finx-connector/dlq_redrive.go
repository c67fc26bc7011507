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
	p               *program
	chosen          letterFilter
	filter          dlq.Filter
	seqs            []uint64
	all, yes, force bool
	rate            float64
	out             format
}

func (p *program) dlqRedriveCommand() *cobra.Command {
	r := &redriveCommand{p: p}
	c := p.withBroker(&cobra.Command{
		Use:   "redrive {SEQ… | --class CLASS | --subject SUBJECT | --since TIME | --all}",
		Short: "Put the events of dead letters back on their way",
		Long: `redrive shows what it would do, and does it with --yes: it publishes each event to its
original subject under a new Nats-Msg-Id and with its own id, so that what was done
already is not done again, and deletes the dead letter when the stream has the event.

A callback, and an event whose body was withheld, is read again from the stream it came from:
the dead letter has no code. When it is gone there, the dead letter is refused and stays.
So is one that this version still finds malformed, unless --force is given, and one that the
stream calls a duplicate. Exit code 1 when any was not redriven.`,
		Example: `  finx-connector dlq redrive 17 18
  finx-connector dlq redrive 17 18 --yes
  finx-connector dlq redrive --class outage --rate 20 --yes`,
		PreRunE: func(_ *cobra.Command, args []string) error { return r.check(args) },
	}, func(ctx context.Context, b *broker, _ []string) error { return r.run(ctx, b) })
	r.chosen.flags(c)
	c.Flags().BoolVar(&r.all, "all", false, "all dead letters")
	c.Flags().BoolVar(&r.yes, "yes", false, "do it; without, only the plan is shown")
	c.Flags().BoolVar(&r.force, "force", false, "also what this version still finds malformed")
	c.Flags().Float64Var(&r.rate, "rate", 50, "events a second at most")
	r.out.flag(c)
	return c
}

func (r *redriveCommand) check(args []string) (err error) {
	ways := 0
	for _, given := range []bool{len(args) > 0, r.chosen.given(), r.all} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return usagef("name dead letters by sequence, or by --class, --subject and --since, or --all")
	}
	if !(r.rate > 0 && r.rate <= 1e6) {
		return usagef("--rate must be above 0")
	}
	if r.seqs, err = sequences(args); err != nil {
		return err
	}
	r.filter, err = r.chosen.filter(time.Now())
	return err
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
	seqs := r.seqs
	if len(seqs) == 0 {
		if seqs, err = matching(ctx, q, r.filter); err != nil {
			return err
		}
	}
	job := &redriveJob{redriveCommand: r, queue: q, run: events.NewUUID()}
	if r.out.json() {
		return job.runJSON(ctx, seqs)
	}
	return job.runTable(ctx, seqs)
}

// matching returns the dead letters of a filter by their sequences: bodies of
// thousands would not fit.
func matching(ctx context.Context, q *dlq.Queue, f dlq.Filter) ([]uint64, error) {
	var seqs []uint64
	err := q.Each(ctx, f, func(l dlq.Letter) error {
		seqs = append(seqs, l.Sequence)
		return nil
	})
	return seqs, err
}

// redriveJob is one run.
type redriveJob struct {
	*redriveCommand
	queue *dlq.Queue
	run   string // makes the ids of this run new
	count struct{ redriven, left int }
}

// plan finds the event of a dead letter and says what is to be done.
func (j *redriveJob) plan(ctx context.Context, seq uint64) (redriven, dlq.Event, error) {
	l, err := j.queue.Get(ctx, seq)
	if errors.Is(err, dlq.ErrNotFound) {
		return redriven{letterView: letterView{Sequence: seq}, Action: actionRefuse, Why: err.Error()}, dlq.Event{}, nil
	}
	if err != nil {
		return redriven{}, dlq.Event{}, err
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

// act redrives what the plan says; an error is the end of the run.
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

// each plans every dead letter and, with --yes, acts at once on it, no faster
// than --rate.
func (j *redriveJob) each(ctx context.Context, seqs []uint64, yes bool, show func(redriven) error) error {
	var pace <-chan time.Time
	if yes {
		ticker := time.NewTicker(time.Duration(float64(time.Second) / j.rate))
		defer ticker.Stop()
		pace = ticker.C
	}
	for i, seq := range seqs {
		if pace != nil && i > 0 {
			select {
			case <-pace:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		one, e, err := j.plan(ctx, seq)
		if err != nil {
			return err
		}
		var stopped error
		if yes {
			one, stopped = j.act(ctx, one, e)
		}
		if err := show(one); err != nil {
			return err
		}
		if stopped != nil {
			return stopped
		}
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
