package replay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/retry"
)

// TakenError says that a replay is in somebody else's hands.
type TakenError struct {
	ID, Holder string
}

// Error names who has it.
func (e *TakenError) Error() string {
	return fmt.Sprintf("replay: holding %s: it is being run by %s", e.ID, e.Holder)
}

// keeper writes the checkpoints of a run. Whoever writes by compare-and-set holds
// the replay; a run that finds its checkpoint written by another stops.
type keeper struct {
	r *Replayer

	mu sync.Mutex
	cp checkpoint

	saving   sync.Mutex // one save at a time
	revision uint64
}

// change changes what the next checkpoint says.
func (k *keeper) change(fn func(*checkpoint)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fn(&k.cp)
}

// save writes a checkpoint. Errors: *TakenError.
func (k *keeper) save(ctx context.Context) error {
	k.saving.Lock()
	defer k.saving.Unlock()
	run, id, value, err := k.encode()
	if err != nil {
		return err
	}
	err = k.write(ctx, id, value)
	if errors.Is(err, connection.ErrConflict) {
		now, revision, loadErr := k.r.load(ctx, id)
		switch {
		case loadErr != nil:
			return loadErr
		case now.Run != run:
			return permanent(&TakenError{id, now.Holder})
		}
		k.revision = revision // it was ourselves, and the answer was lost
		err = k.write(ctx, id, value)
	}
	if err != nil {
		return fmt.Errorf("replay: writing the checkpoint of %s: %w", id, err)
	}
	return nil
}

func (k *keeper) write(ctx context.Context, id string, value []byte) error {
	revision, err := k.r.cfg.Checkpoints.SaveFor(ctx, key(id), value, k.revision, checkpointLife)
	if err == nil {
		k.revision = revision
	}
	return err
}

func (k *keeper) encode() (run, id string, value []byte, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cp.At = time.Now().UTC()
	value, err = k.cp.encode()
	return k.cp.Run, k.cp.ID, value, err
}

// settle is save, repeated while the broker is away.
func (k *keeper) settle(ctx context.Context) error {
	return retry.Do(ctx, k.r.policy, k.save, nil)
}

// keep writes a checkpoint four times a hold until ctx ends. lost is told when
// the replay was taken over, or the broker was away for longer than the budget.
func (k *keeper) keep(ctx context.Context, lost context.CancelCauseFunc) {
	beat := time.NewTicker(k.r.cfg.Hold / 4)
	defer beat.Stop()
	good := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		err := k.save(ctx)
		_, taken := errors.AsType[*TakenError](err)
		switch {
		case err == nil:
			good = time.Now()
		case ctx.Err() != nil:
			return
		case taken, time.Since(good) > k.r.cfg.Budget:
			lost(err)
			return
		}
	}
}
