package main

import (
	"context"
	"errors"
	"fmt"
)

// mostPlanned is how many lines of a plan are printed; the counts are of all.
const mostPlanned = 50

// runTable shows the plan as a table and, with --yes, a line for each letter as
// it is done.
func (j *redriveJob) runTable(ctx context.Context, seqs []uint64) error {
	if len(seqs) == 0 {
		fmt.Fprintln(j.p.stdout, "no dead letter matches")
		return nil
	}
	if err := j.showPlan(ctx, seqs); err != nil || !j.yes {
		return err
	}
	fmt.Fprintln(j.p.stdout)
	err := j.each(ctx, seqs, true, func(one redriven) error {
		_, err := fmt.Fprintln(j.p.stdout, printable(one.line()))
		return err
	})
	fmt.Fprintf(j.p.stdout, "%d redriven, %d left\n", j.count.redriven, len(seqs)-j.count.redriven)
	return errors.Join(err, j.result())
}

func (j *redriveJob) showPlan(ctx context.Context, seqs []uint64) error {
	refused, rows := 0, 0
	t := newTable(j.p.stdout, append([]string{"PLAN"}, letterHeads()...)...)
	err := j.each(ctx, seqs, false, func(one redriven) error {
		if one.Action == actionRefuse {
			refused++
		}
		if rows++; rows <= mostPlanned || one.Action == actionRefuse {
			cells := one.cells()
			if one.Why != "" {
				cells[len(cells)-1] = one.Why
			}
			t.row(append([]string{one.Action}, cells...)...)
		}
		return nil
	})
	if err == nil {
		err = t.flush()
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(j.p.stdout, "%s: %d to redrive, %d refused", counted(len(seqs), "dead letter"), len(seqs)-refused, refused)
	if j.yes {
		fmt.Fprintln(j.p.stdout)
	} else {
		fmt.Fprintln(j.p.stdout, "; nothing was changed, --yes does it")
	}
	return nil
}

// line tells what became of one dead letter.
func (r redriven) line() string {
	text := fmt.Sprintf("%s %d %s", r.Action, r.Sequence, r.Subject)
	if r.Action == actionRedriven {
		text += fmt.Sprintf(" as %s %d", r.StoredStream, r.StoredSequence)
	}
	if r.Refetched {
		text += " (read again from its stream)"
	}
	if r.Why != "" {
		text += ": " + r.Why
	}
	return text
}

// runJSON prints one array: the plan, or with --yes what was done.
func (j *redriveJob) runJSON(ctx context.Context, seqs []uint64) error {
	all := []redriven{}
	err := j.each(ctx, seqs, j.yes, func(one redriven) error {
		all = append(all, one)
		return nil
	})
	return errors.Join(err, writeJSON(j.p.stdout, all), j.result())
}
