package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/retry"
)

// spans fixes which part of which streams is read: nothing that is stored from
// now on.
func (r *Replayer) spans(ctx context.Context, req Request) ([]Span, error) {
	s, names := req.Selection, []string{r.cfg.Streams.Events}
	switch req.Mode {
	case Refetch:
		return nil, nil
	case Outputs:
		if s.Subject != "" && !slices.ContainsFunc(events.OutputTypes(), func(typ string) bool {
			return anyOverlap(r.outputSubjects(s), andBelow(r.cfg.Codec.Subject(typ)))
		}) {
			return nil, usage("--subject %s is no subject of an output", s.Subject)
		}
	case Inputs:
		groups, _ := r.inputSubjects(s)
		if len(groups) == 0 {
			return nil, usage("--subject %s is no subject of an input", s.Subject)
		}
		if names = streamsOf(groups); len(names) > 1 && (s.FromSeq > 0 || s.ToSeq > 0) {
			return nil, usage("--from-seq and --to-seq are sequences of one stream, and there are %v: choose by --subject", names)
		}
	}
	var out []Span
	for _, name := range names {
		_, first, last, err := r.state(ctx, name)
		if err != nil {
			return nil, err
		}
		span := Span{Stream: name, From: max(first, s.FromSeq, 1), To: last}
		if s.ToSeq > 0 {
			span.To = min(last, s.ToSeq)
		}
		if !s.Since.IsZero() && span.From <= span.To {
			at, err := r.sequenceAt(ctx, name, s.Since)
			if err != nil {
				return nil, err
			}
			span.From = max(span.From, at)
		}
		out = append(out, span)
	}
	return out, nil
}

// checkAudit makes sure that the record of the replay can be stored.
func (r *Replayer) checkAudit(ctx context.Context) error {
	cfg, _, _, err := r.state(ctx, r.cfg.Streams.Events)
	if err != nil {
		return err
	}
	subject := r.cfg.Codec.Subject(events.TypeReplayCompleted)
	if slices.ContainsFunc(cfg.Subjects, func(s string) bool { return overlap(s, subject) }) {
		return nil
	}
	return fmt.Errorf("replay: stream %s does not take %s, the record of a replay: run `finx-connector streams apply`, or ask the stream's owner for it", cfg.Name, subject)
}

// findTarget finds the stream that takes what is published with --to.
func (j *Job) findTarget(ctx context.Context) error {
	to := j.cp.Request.To
	if to == "" {
		return nil
	}
	err := retry.Do(ctx, j.r.policy, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, j.r.cfg.Timeout)
		defer cancel()
		name, err := j.r.cfg.JS.StreamNameBySubject(ctx, to)
		j.cp.ToStream = name
		return j.r.judgeNames(err)
	}, nil)
	if err != nil {
		return fmt.Errorf("replay: looking for the stream of --to %s: %w", to, err)
	}
	_, _, last, err := j.r.state(ctx, j.cp.ToStream)
	if err != nil {
		return err
	}
	j.cp.Acked = map[string]uint64{j.cp.ToStream: last}
	return nil
}

// judgeNames is judgeRead for the question which stream takes a subject: its "no"
// is an error of the client.
func (r *Replayer) judgeNames(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fault.Permanent(fault.Rejected, fmt.Errorf("no stream takes it: make one first, for a replay counts what is stored: %w", err))
	}
	return r.judgeRead("STREAM.NAMES", err)
}
