package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/retry"
)

// errUnreadable is a record that is there and that this version cannot read.
var errUnreadable = errors.New("the record cannot be read")

// lookUp asks for a record or a state, again while the broker is away.
func lookUp[T any](ctx context.Context, r *Replayer, question func(context.Context) (T, error)) (T, error) {
	var value T
	var final error // an answer that asking again would not change
	err := retry.Do(ctx, r.policy, func(ctx context.Context) (err error) {
		value, err = question(ctx)
		switch {
		case errors.Is(err, connection.ErrNotFound):
			final, err = err, nil
		case err != nil && fault.DependencyOf(err) != fault.NATS:
			final, err = fmt.Errorf("%w: %w", errUnreadable, err), nil
		}
		return err
	}, nil)
	if err == nil {
		err = final
	}
	return value, err
}

// mostKnown bounds what is remembered of the records while a plan is made.
const mostKnown = 4096

// known remembers what was read of records and states, so that a plan over many
// inputs of few connections asks for each once.
type known struct {
	*Replayer

	read     map[string]answer[connection.Record]
	bindings map[string]answer[connection.StateBinding]
}

type answer[T any] struct {
	value T
	err   error // nil, or that there is none, or none that can be read
}

// begin forgets everything.
func (k *known) begin() { k.read, k.bindings = nil, nil }

func (k *known) record(ctx context.Context, id string) (connection.Record, error) {
	return ask(&k.read, id, func() (connection.Record, error) {
		return lookUp(ctx, k.Replayer, func(ctx context.Context) (connection.Record, error) {
			rec, _, err := k.cfg.Records.Get(ctx, id)
			return rec, err
		})
	})
}

func (k *known) binding(ctx context.Context, state string) (connection.StateBinding, error) {
	return ask(&k.bindings, state, func() (connection.StateBinding, error) {
		return lookUp(ctx, k.Replayer, func(ctx context.Context) (connection.StateBinding, error) {
			return k.cfg.Records.LookupState(ctx, state)
		})
	})
}

func ask[T any](memory *map[string]answer[T], key string, question func() (T, error)) (T, error) {
	if a, ok := (*memory)[key]; ok {
		return a.value, a.err
	}
	value, err := question()
	if err != nil && !errors.Is(err, connection.ErrNotFound) && !errors.Is(err, errUnreadable) {
		return value, err
	}
	if *memory == nil || len(*memory) >= mostKnown {
		*memory = map[string]answer[T]{}
	}
	(*memory)[key] = answer[T]{value, err}
	return value, err
}
