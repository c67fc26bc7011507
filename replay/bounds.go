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
		info, err := r.state(ctx, name)
		if err != nil {
			return nil, err
		}
		last := info.State.LastSeq
		span := Span{Stream: name, From: max(info.State.FirstSeq, s.FromSeq, 1), To: last, Created: info.Created.UTC()}
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

// checkSpans makes sure that what is left to be read is what was planned: the
// sequences of a stream that was deleted and made again, or restored from an older
// copy, are other messages.
func (r *Replayer) checkSpans(ctx context.Context, spans []Span) error {
	for _, s := range spans {
		if s.Done >= s.To {
			continue
		}
		info, err := r.state(ctx, s.Stream)
		if err != nil {
			return err
		}
		if !s.Created.IsZero() && !info.Created.Equal(s.Created) || info.State.LastSeq < s.To {
			return fmt.Errorf("replay: reading stream %s: it was made again, or restored, since this replay was planned, and its sequences are other messages: plan a new one", s.Stream)
		}
	}
	return nil
}

// checkAudit makes sure that the record of the replay can be stored.
func (r *Replayer) checkAudit(ctx context.Context) error {
	info, err := r.state(ctx, r.cfg.Streams.Events)
	if err != nil {
		return err
	}
	subject := r.cfg.Codec.Subject(events.TypeReplayCompleted)
	if slices.ContainsFunc(info.Config.Subjects, func(s string) bool { return overlap(s, subject) }) {
		return nil
	}
	return fmt.Errorf("replay: stream %s does not take %s, the record of a replay: run `finx-connector streams apply`, or ask the stream's owner for it", info.Config.Name, subject)
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
	info, err := j.r.state(ctx, j.cp.ToStream)
	if err != nil {
		return err
	}
	j.cp.Acked = map[string]uint64{j.cp.ToStream: info.State.LastSeq}
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
