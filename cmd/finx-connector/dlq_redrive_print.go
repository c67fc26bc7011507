package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// mostPlanned is how many lines of a plan are printed, of what is to be done and
// of what is refused; the counts are of all.
const mostPlanned = 50

// runTable shows the plan as a table and, with --yes, a line for each letter as
// it is done.
func (j *redriveJob) runTable(ctx context.Context) error {
	seqs, err := j.showPlan(ctx)
	if err != nil || !j.yes || len(seqs) == 0 {
		return err
	}
	fmt.Fprintln(j.p.stdout)
	err = j.do(ctx, seqs, func(one redriven) error {
		_, err := fmt.Fprintln(j.p.stdout, printable(one.line()))
		return err
	})
	fmt.Fprintf(j.p.stdout, "%d redriven, %d left\n", j.count.redriven, len(seqs)-j.count.redriven)
	if ctx.Err() != nil {
		fmt.Fprintln(j.p.stdout, "interrupted; the same command goes on with the rest")
	}
	return errors.Join(err, j.result())
}

// showPlan prints the plan: the letters, and how many there are of each kind.
func (j *redriveJob) showPlan(ctx context.Context) (seqs []uint64, err error) {
	rows, refused := 0, 0
	groups := letterGroups{codec: j.queue.Codec()}
	t := newTable(j.p.stdout, append([]string{"PLAN"}, letterHeads()...)...)
	seqs, err = j.plan(ctx, func(one redriven) {
		count := &rows
		if one.Action == actionRefuse {
			count = &refused
		}
		groups.add(one.letterView, one.Action == actionRefuse)
		if *count++; *count > mostPlanned {
			return
		}
		cells := one.cells()
		if one.Why != "" {
			cells[len(cells)-1] = one.Why
		}
		t.row(append([]string{one.Action}, cells...)...)
	})
	if err != nil {
		return nil, err
	}
	if len(seqs) == 0 {
		fmt.Fprintln(j.p.stdout, "no dead letter matches")
		return nil, nil
	}
	if err := t.flush(); err != nil {
		return nil, err
	}
	if hidden := max(0, rows-mostPlanned) + max(0, refused-mostPlanned); hidden > 0 {
		fmt.Fprintf(j.p.stdout, "… and %d more; -o json shows all\n", hidden)
	}
	if err := j.showGroups(groups.sorted()); err != nil {
		return nil, err
	}
	fmt.Fprintf(j.p.stdout, "%s: %d to redrive, %d refused", counted(len(seqs), "dead letter"), rows, refused)
	if !j.yes {
		fmt.Fprint(j.p.stdout, "; nothing was changed, --yes does it")
	}
	if rows > 1 {
		fmt.Fprintf(j.p.stdout, " (in %s or more, at %g a second)", short(time.Duration(float64(rows)/j.rate*float64(time.Second))), j.rate)
	}
	fmt.Fprintln(j.p.stdout)
	return seqs, nil
}

func (j *redriveJob) showGroups(all []letterGroup) error {
	fmt.Fprintln(j.p.stdout)
	t := newTable(j.p.stdout, "CLASS", "EVENT", "COUNT", "REFUSED", "OLDEST")
	for _, g := range all {
		t.row(string(g.Class), g.Event, fmt.Sprint(g.Count), fmt.Sprint(g.Refused), age(time.Now(), g.Oldest))
	}
	return t.flush()
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

// runJSON prints one array: the plan, or with --yes what was done, also when it
// was interrupted.
func (j *redriveJob) runJSON(ctx context.Context) error {
	all := []redriven{}
	if !j.yes {
		_, err := j.plan(ctx, func(one redriven) { all = append(all, one) })
		return errors.Join(err, writeJSON(j.p.stdout, all))
	}
	seqs, err := j.plan(ctx, func(redriven) {})
	if err == nil {
		err = j.do(ctx, seqs, func(one redriven) error { all = append(all, one); return nil })
	}
	return errors.Join(err, writeJSON(j.p.stdout, all), j.result())
}
