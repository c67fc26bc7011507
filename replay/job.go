package replay

import (
	"context"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// Job is one replay, planned or resumed. It is not safe for concurrent use.
type Job struct {
	r        *Replayer
	cp       checkpoint
	revision uint64 // of the checkpoint; 0 before the first
	src      source
	sent     map[string]uint64 // per stream read from: copies up to this sequence are stored
	oversize references

	// Planned is what is left to do.
	Planned Plan
}

// ID names the replay.
func (j *Job) ID() string { return j.cp.ID }

// Request is what was asked for.
func (j *Job) Request() Request { return j.cp.Request }

// State is where the replay stands; empty before its first run.
func (j *Job) State() State { return j.cp.State }

// Counts are what was done before.
func (j *Job) Counts() Counts { return j.cp.Counts }

// Finished is when the last run came to its end.
func (j *Job) Finished() time.Time { return j.cp.FinishedAt }

// Resume opens a replay that was interrupted, or whose process died, and plans
// what is left of it. One that is completed has nothing left; running it only
// makes sure that its record is published. It changes nothing. Errors:
// ErrNotFound.
func (r *Replayer) Resume(ctx context.Context, id string, told func(looked int)) (*Job, error) {
	cp, revision, err := r.load(ctx, id)
	if err != nil {
		return nil, err
	}
	j := &Job{r: r, cp: cp, revision: revision}
	if cp.State == Completed {
		j.Planned = Plan{ReplayID: id, Mode: cp.Request.Mode, Types: []TypeCount{}, Skipped: []Skip{}}
		return j, nil
	}
	if err := r.checkAudit(ctx); err != nil {
		return nil, err
	}
	if err := r.checkSpans(ctx, cp.Position.Spans); err != nil {
		return nil, err
	}
	return j, j.plan(ctx, told)
}

// free waits until nobody runs the job. A run writes a checkpoint four times a
// hold: one that writes none for a whole hold is dead, whatever the clocks say.
func (j *Job) free(ctx context.Context, waiting func(holder string, most time.Duration)) error {
	if j.cp.State != Running {
		return nil
	}
	if waiting != nil {
		waiting(j.cp.Holder, j.r.cfg.Hold)
	}
	timer := time.NewTimer(j.r.cfg.Hold)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return fmt.Errorf("replay: waiting for %s: %w", j.cp.Holder, context.Cause(ctx))
	}
	now, revision, err := j.r.load(ctx, j.cp.ID)
	if err != nil {
		return err
	}
	switch {
	case revision == j.revision:
		return nil
	case now.State == Running:
		return &TakenError{now.ID, now.Holder}
	}
	return fmt.Errorf("replay: holding %s: %s ended its run meanwhile, and it is %s: resume it again", now.ID, now.Holder, now.State)
}

// permanent is for an answer that asking again does not change.
func permanent(err error) error { return fault.Permanent(fault.Rejected, err) }
