package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// letterFilter are the flags that choose dead letters.
type letterFilter struct{ class, subject, stream, since, until, connection, user string }

func (f *letterFilter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.class, "class", "", "only those of this `class`, such as outage")
	c.Flags().StringVar(&f.subject, "subject", "", "only those whose original was on this `subject` or below it")
	c.Flags().StringVar(&f.stream, "stream", "", "only those whose original is in this `stream`")
	c.Flags().StringVar(&f.since, "since", "", "only those not older: an RFC 3339 `time`, or a duration ago such as 24h")
	c.Flags().StringVar(&f.until, "until", "", "only those older: a `time` as for --since")
	c.Flags().StringVar(&f.connection, "connection", "", "only those about the connection of this `id`")
	c.Flags().StringVar(&f.user, "user", "", "only those about this `user_id`; a sync names none")
}

func (f *letterFilter) given() bool { return *f != letterFilter{} }

// filter reads the flags; what they cannot mean is wrong usage.
func (f *letterFilter) filter(now time.Time) (dlq.Filter, error) {
	out := dlq.Filter{Class: fault.Class(f.class), Subject: f.subject, Stream: f.stream, Connection: f.connection, User: f.user}
	switch out.Class {
	case "", fault.Malformed, fault.Rejected, fault.Exhausted, fault.Expired, fault.UnknownState, fault.Oversize, fault.Outage:
	default:
		return out, usagef("--class must be one of malformed, rejected, exhausted, expired, unknown_state, oversize, outage")
	}
	if strings.ContainsAny(f.subject, " \t\r\n") || strings.Contains("."+f.subject+".", "..") && f.subject != "" {
		return out, usagef("--subject must be a NATS subject")
	}
	var err error
	if out.Since, err = moment("--since", f.since, now); err != nil {
		return out, err
	}
	if out.Until, err = moment("--until", f.until, now); err != nil {
		return out, err
	}
	if !out.Since.IsZero() && !out.Until.IsZero() && !out.Since.Before(out.Until) {
		return out, usagef("--since must be before --until")
	}
	return out, nil
}

// letterSelection names dead letters: by sequence, by filter, or all of them.
type letterSelection struct {
	chosen letterFilter
	all    bool

	filter dlq.Filter
	seqs   []uint64
	text   string // as it was asked for
}

func (s *letterSelection) flags(c *cobra.Command) {
	s.chosen.flags(c)
	c.Flags().BoolVar(&s.all, "all", false, "all dead letters")
}

// check reads the command line.
func (s *letterSelection) check(c *cobra.Command, args []string) (err error) {
	if err := noneEmpty(c, "class", "subject", "stream", "since", "until", "connection", "user"); err != nil {
		return err
	}
	ways := 0
	for _, given := range []bool{len(args) > 0, s.chosen.given(), s.all} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return usagef("name dead letters by sequence, or by --class, --subject, --stream, --since, --until, --connection and --user, or --all")
	}
	if s.seqs, err = sequences(args); err != nil {
		return err
	}
	if s.filter, err = s.chosen.filter(time.Now()); err != nil {
		return err
	}
	parts := args
	if s.all {
		parts = []string{"--all"}
	}
	for _, name := range []string{"class", "subject", "stream", "since", "until", "connection"} {
		if v := c.Flags().Lookup(name).Value.String(); v != "" {
			parts = append(parts, "--"+name+" "+v)
		}
	}
	if s.chosen.user != "" {
		parts = append(parts, "--user …") // the text is kept, and a user_id may be a person's name
	}
	s.text = cut(strings.Join(parts, " "), 200)
	return nil
}

// each calls fn with the chosen letters; found is false for a sequence that has
// none.
func (s *letterSelection) each(ctx context.Context, q *dlq.Queue, fn func(l dlq.Letter, found bool) error) error {
	if len(s.seqs) == 0 {
		return q.Each(ctx, s.filter, func(l dlq.Letter) error { return fn(l, true) })
	}
	for _, seq := range s.seqs {
		l, err := q.Get(ctx, seq)
		found := !errors.Is(err, dlq.ErrNotFound)
		if err != nil && found {
			return err
		}
		if !found {
			l = dlq.Letter{Sequence: seq}
		}
		if err := fn(l, found); err != nil {
			return err
		}
	}
	return nil
}

// sequences reads the arguments of a command that names dead letters.
func sequences(args []string) ([]uint64, error) {
	out := make([]uint64, len(args))
	seen := map[uint64]bool{}
	for i, a := range args {
		n, err := strconv.ParseUint(a, 10, 64)
		if err != nil || n == 0 {
			return nil, usagef("%q is no sequence of a dead letter: a number from 1, as dlq list shows", a)
		}
		if seen[n] {
			return nil, usagef("dead letter %d is named twice", n)
		}
		out[i], seen[n] = n, true
	}
	return out, nil
}

// noted is what is kept of a run that changes dead letters.
type noted struct {
	queue *dlq.Queue
	note  dlq.Note
	kept  bool
}

// begin keeps a note of what is about to be done.
func begin(ctx context.Context, q *dlq.Queue, n dlq.Note) (*noted, error) {
	n.By, n.StartedAt = operator(), time.Now().UTC()
	if err := q.Keep(ctx, n); err != nil {
		return &noted{queue: q, note: n}, fmt.Errorf("%w (is the bucket there, and may this NATS user publish to $KV.%s.dlq.>?)", err, dlq.DefaultControl)
	}
	return &noted{queue: q, note: n, kept: true}, nil
}

// end keeps what came of it, also of a run that was interrupted.
func (n *noted) end(ctx context.Context) error {
	if !n.kept {
		return nil
	}
	n.note.Left, n.note.FinishedAt = n.note.Planned-n.note.Done, time.Now().UTC()
	return n.queue.Keep(context.WithoutCancel(ctx), n.note)
}
