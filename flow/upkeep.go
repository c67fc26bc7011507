package flow

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// How often the work without an event is done.
const (
	homeSoon    = 15 * time.Second // while answers wait to be stored
	homeIdle    = time.Minute
	sweepEvery  = 4 * time.Hour
	walkEvery   = 6 * time.Hour
	upkeepRetry = time.Minute // after an error
)

// Upkeep does what no event asks for until ctx ends: it brings home the answers
// that Vault could not take, sweeps up calls that were never ended, and catches
// up on refresh tokens. Each is done at the start, and then again and again.
// Errors are logged and tried again. It returns soon after ctx has ended;
// rotations under way are finished by custody, whose Wait a drain calls.
func (f *Flow) Upkeep(ctx context.Context) {
	if f.Background == nil {
		return
	}
	var all sync.WaitGroup
	for _, duty := range []struct {
		name, label string
		do          func(context.Context) (time.Duration, error)
	}{
		{"bringing answers home", dutyHome, f.bringHome},
		{"sweep", dutySweep, func(ctx context.Context) (time.Duration, error) { return sweepEvery, f.Sweep(ctx) }},
		{"catch-up", dutyWalk, func(ctx context.Context) (time.Duration, error) { return walkEvery, f.CatchUp(ctx) }},
	} {
		all.Go(func() { f.again(ctx, duty.name, duty.label, duty.do) })
	}
	all.Wait()
}

// again does a duty until ctx ends. do says when to do it next.
func (f *Flow) again(ctx context.Context, name, label string, do func(context.Context) (time.Duration, error)) {
	for ctx.Err() == nil {
		wait, err := f.safely(ctx, name, do)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			wait = upkeepRetry
			if until, ok := fault.Until(err); ok {
				wait = max(wait, time.Until(until))
			}
			f.Metrics.interrupted(label)
			f.Logger.WarnContext(ctx, "upkeep interrupted", "duty", name, "again_in", wait.String(), "error", err)
		}
		if pause(ctx, wait) != nil {
			return
		}
	}
}

// safely turns a panic into an error: it would end the process, and with it
// whatever tokens are in hand.
func (f *Flow) safely(ctx context.Context, name string, do func(context.Context) (time.Duration, error)) (wait time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			// What it panicked with may quote a secret; its type does not.
			f.Metrics.panicked()
			f.Logger.ErrorContext(ctx, "panic in upkeep", "duty", name, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			err = errors.New("flow: panic in upkeep")
		}
	}()
	return do(ctx)
}

func (f *Flow) bringHome(ctx context.Context) (time.Duration, error) {
	home, err := f.Background.Keeping.BringHome(ctx)
	if err == nil {
		f.Metrics.finished(dutyHome)
	}
	if home.Stored > 0 || home.Stale > 0 {
		f.Logger.InfoContext(ctx, "answers brought home from escrow", "stored", home.Stored, "stale", home.Stale, "waiting", home.Waiting)
	}
	if err != nil {
		f.Metrics.interrupted(dutyHome)
		// Most likely Vault is still away: that is looked at sooner than other errors.
		f.Logger.WarnContext(ctx, "answers not brought home yet", "waiting", home.Waiting, "error", err)
		return homeSoon, nil
	}
	if home.Waiting > 0 {
		return homeSoon, nil
	}
	return homeIdle, nil
}

// alone does a duty under the lock of that name, on one replica at a time; the
// others return at once.
func (f *Flow) alone(ctx context.Context, name string, do func(held context.Context) error) error {
	held, release, err := f.Lock(ctx, name)
	if errors.Is(err, connection.ErrLeaseHeld) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("flow: locking the %s: %w", name, err)
	}
	defer release()
	return do(held)
}
