package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// RunOptions say how a job is run.
type RunOptions struct {
	Rate float64 // messages a second at most, above 0
	// Progress, if not nil, is told of every message that was dealt with.
	Progress func(Progress)
	// Waiting, if not nil, is told when the job has another holder, who is given
	// at most that long to be heard of.
	Waiting func(holder string, most time.Duration)
}

// Progress is how far a run is.
type Progress struct {
	Done, Total int // of this run
	Counts      Counts
}

// Result is what became of a replay, over all its runs.
type Result struct {
	Counts

	ReplayID string `json:"replay_id"`
	Outcome  State  `json:"outcome"`

	Failures       []Failure `json:"failures,omitempty"`
	ReferencesGone int       `json:"references_gone,omitempty"` // large objects that are no longer in the store
	StartedAt      time.Time `json:"started_at"`
	FinishedAt     time.Time `json:"finished_at"`

	Matched int `json:"matched"` // as planned at first
	// Gone is how many of those the streams did not have any more when they were to
	// be read: they grew too old, or were deleted, after the plan.
	Gone int `json:"gone,omitempty"`

	// AuditStream and AuditSequence are where its record is.
	AuditStream   string `json:"audit_stream,omitempty"`
	AuditSequence uint64 `json:"audit_sequence,omitempty"`
}

// lastWords is how long an interrupted run may take to write where it stopped.
const lastWords = 15 * time.Second

// Run does what is planned, one message after the other. When ctx ends, the
// message in flight is finished, a checkpoint written and the record published;
// the result then says Interrupted and the error why. The error is nil when all
// was done, also when single messages were refused: Result.Failed counts those.
// Errors: *TakenError when somebody else runs it.
func (j *Job) Run(ctx context.Context, o RunOptions) (Result, error) {
	if o.Rate <= 0 {
		return Result{}, errors.New("replay: reading the options of a run: no rate")
	}
	if err := j.free(ctx, o.Waiting); err != nil {
		return Result{}, err
	}
	k := &keeper{r: j.r, cp: j.cp, revision: j.revision}
	switch {
	case j.cp.State == Completed && j.cp.Audited:
		return j.result(), nil
	case j.cp.State == Completed:
		return j.finish(ctx, k, nil)
	}
	k.change(func(c *checkpoint) {
		if c.State = Running; c.StartedAt.IsZero() {
			c.StartedAt = time.Now().UTC()
		}
		c.Holder, c.Run, c.Failures = j.r.cfg.Holder, events.NewUUID(), slices.Clip(c.Failures)
	})
	resumed := j.cp.State != ""
	if err := k.settle(ctx); err != nil { // from here on the replay is ours
		return Result{}, err
	}
	held, lost := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.keep(held, lost)
	}()
	err := j.work(held, k, o, resumed)
	if cause := context.Cause(held); err != nil && cause != nil {
		err = fmt.Errorf("replay: running %s: %w", j.cp.ID, cause)
	}
	lost(nil)
	<-done
	if taken, is := errors.AsType[*TakenError](err); is {
		return Result{}, taken // its checkpoint, and its record, are the other's
	}
	return j.finish(ctx, k, err)
}

// work deals with every item that is left.
func (j *Job) work(ctx context.Context, k *keeper, o RunOptions, resumed bool) error {
	var err error
	if resumed {
		if j.sent, err = j.findSent(ctx); err != nil {
			return err
		}
	}
	pace := newPace(o.Rate)
	p := Progress{Total: j.Planned.Matched()}
	return j.src.each(ctx, j.cp.Position, false, func(it item) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		did, err := j.one(ctx, pace, it)
		if err != nil {
			return err
		}
		k.change(func(c *checkpoint) {
			c.Position = c.Position.moved(it)
			did(c)
			p.Counts = c.Counts
		})
		if p.Done++; o.Progress != nil {
			o.Progress(p)
		}
		return nil
	})
}

// one deals with one item and says what that changes in the books.
func (j *Job) one(ctx context.Context, pace *pace, it item) (func(*checkpoint), error) {
	switch {
	case it.skip != "":
		return func(c *checkpoint) { c.Counts.Skipped++ }, nil
	case it.stream != "" && it.sequence <= j.sent[it.stream]:
		return func(c *checkpoint) { c.Counts.Duplicates++ }, nil
	}
	if err := pace.wait(ctx); err != nil {
		return nil, err
	}
	gone, size := j.oversize.gone(ctx, it), 0
	msg, err := it.message()
	var ack *jetstream.PubAck
	if err == nil {
		size = len(msg.Data)
		msg.Header[events.HeaderMsgID] = []string{it.id}
		ack, err = j.r.publish(ctx, msg, j.stream(it))
	}
	switch {
	case fault.Of(err) == fault.GiveUp && (fault.ClassOf(err) == fault.Oversize || fault.ClassOf(err) == fault.Malformed):
		// This message is at fault and no other.
		failure := Failure{it.stream, it.sequence, err.Error()}
		return func(c *checkpoint) {
			if c.Counts.Failed++; len(c.Failures) < mostFailures {
				c.Failures = append(c.Failures, failure)
			}
		}, nil
	case err != nil:
		return nil, fmt.Errorf("replay: publishing %s: %w", it.place(), err)
	case ack.Duplicate:
		return func(c *checkpoint) { c.Counts.Duplicates++ }, nil
	}
	return func(c *checkpoint) {
		c.Counts.Replayed++
		c.Counts.Bytes += size
		c.ReferencesGone += gone
		c.Acked[ack.Stream] = max(c.Acked[ack.Stream], ack.Sequence)
	}, nil
}

// stream is where an item has to be stored.
func (j *Job) stream(it item) string {
	switch {
	case j.cp.ToStream != "":
		return j.cp.ToStream
	case it.stream == "":
		return j.r.cfg.Streams.Syncs
	}
	return it.stream
}

// finish writes how the run ended and publishes the record of it.
func (j *Job) finish(ctx context.Context, k *keeper, why error) (Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(lastWords, 2*j.r.cfg.Timeout))
	defer cancel()
	k.change(func(c *checkpoint) {
		if c.State == Completed {
			return // by an earlier run, which could not say so
		}
		if c.State, c.FinishedAt, c.Audited = Completed, time.Now().UTC(), false; why != nil {
			c.State = Interrupted
		}
	})
	// First the state: whoever comes later finds the record missing and publishes it.
	err := k.settle(ctx)
	var ack *jetstream.PubAck
	if err == nil && !k.cp.Audited {
		if ack, err = j.audit(ctx, k.cp); err == nil {
			k.change(func(c *checkpoint) {
				if c.Audited = true; c.State == Completed {
					c.Request.Selection.User = ""
				}
			})
			err = k.settle(ctx)
		}
	}
	j.cp, j.revision = k.cp, k.revision
	result := j.result()
	if ack != nil {
		result.AuditStream, result.AuditSequence = ack.Stream, ack.Sequence
	}
	return result, errors.Join(why, err)
}

func (j *Job) result() Result {
	c := j.cp
	result := Result{
		ReplayID: c.ID, Outcome: c.State, Counts: c.Counts, Failures: c.Failures, ReferencesGone: c.ReferencesGone,
		StartedAt: c.StartedAt, FinishedAt: c.FinishedAt, Matched: c.Matched,
	}
	if c.State == Completed {
		result.Gone = max(0, c.Matched-c.Counts.Done())
	}
	return result
}
