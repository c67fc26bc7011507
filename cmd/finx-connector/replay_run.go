package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/replay"
)

// replayed is what a replay command prints as JSON.
type replayed struct {
	replay.Plan

	SoFar  *replay.Counts `json:"so_far,omitempty"` // of a replay that is resumed
	State  replay.State   `json:"state,omitempty"`
	Result *replay.Result `json:"result,omitempty"`
}

func (r *replayCommand) run(ctx context.Context, b *broker) error {
	re, err := b.replayer()
	if err != nil {
		return err
	}
	job, err := r.plan(ctx, re)
	if err != nil {
		return asUsage(err)
	}
	shown := replayed{Plan: job.Planned, State: job.State()}
	if job.State() != "" {
		counts := job.Counts()
		shown.SoFar = &counts
	}
	if !r.out.json() {
		if err := r.printPlan(job); err != nil {
			return err
		}
	}
	nothing := job.State() == "" && job.Planned.Messages == 0
	if r.yes && !nothing {
		result, runErr := r.do(ctx, job)
		if result.ReplayID != "" {
			shown.Result = &result
		}
		err = errors.Join(runErr, r.refused(result))
	}
	switch {
	case r.out.json():
		return errors.Join(writeJSON(r.p.stdout, shown), err)
	case shown.Result != nil:
		r.printResult(*shown.Result)
	}
	return err
}

// plan makes a new plan, or that of what is left.
func (r *replayCommand) plan(ctx context.Context, re *replay.Replayer) (*replay.Job, error) {
	told := time.Now()
	looked := func(n int) {
		if time.Since(told) > progressEvery {
			told = time.Now()
			fmt.Fprintf(r.p.stderr, "finx-connector: planning: %d messages looked at\n", n)
		}
	}
	if r.resume == "" {
		return re.Plan(ctx, r.req, looked)
	}
	job, err := re.Resume(ctx, r.resume, looked)
	if err != nil {
		return nil, err
	}
	if mode := job.Request().Mode; mode != r.req.Mode {
		return nil, usagef("%s is a replay of %s: finx-connector replay %s --resume %s", r.resume, mode, mode, r.resume)
	}
	return job, nil
}

// do runs the job and shows how far it is.
func (r *replayCommand) do(ctx context.Context, job *replay.Job) (replay.Result, error) {
	bar := r.p.bar(job.Planned.Matched())
	result, err := job.Run(ctx, replay.RunOptions{
		Rate:     r.rate,
		Progress: bar.reached,
		Waiting: func(holder string, most time.Duration) {
			fmt.Fprintf(r.p.stderr, "finx-connector: %s had it last; %s to see whether it is still at work\n", printable(holder), short(most))
		},
	})
	bar.end()
	if result.Outcome == replay.Interrupted {
		fmt.Fprintf(r.p.stderr, "finx-connector: to go on: %s\n", r.resumption(job.ID()))
	}
	return result, err
}

// resumption is the command that goes on with a replay.
func (r *replayCommand) resumption(replayID string) string {
	config := ""
	if r.p.configFile != "" {
		config = " --config " + r.p.configFile
	}
	return fmt.Sprintf("finx-connector replay %s --resume %s --yes%s", r.req.Mode, replayID, config)
}

// refused is an error when single messages were refused.
func (r *replayCommand) refused(result replay.Result) error {
	if result.Failed == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "replay: %s refused by the broker:", counted(result.Failed, "message"))
	for _, f := range result.Failures {
		fmt.Fprintf(&b, "\n%s %d: %s", f.Stream, f.Sequence, f.Error)
	}
	return errors.New(b.String())
}
