package app

import (
	"context"
	"log/slog"
	"slices"
	"time"
)

// stops is a stack of named teardowns, run last in, first out, each in bounded
// time: what was opened last may need what was opened before it.
type stops struct {
	logger *slog.Logger
	stack  []stop
}

type stop struct {
	name string
	fn   func(ctx context.Context) error
}

func (s *stops) push(name string, fn func(ctx context.Context) error) {
	s.stack = append(s.stack, stop{name: name, fn: fn})
}

// run tears everything down. It works on a clock of its own, because the
// context of the program has ended by then.
func (s *stops) run(ctx context.Context, each time.Duration) {
	for _, one := range slices.Backward(s.stack) {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), each)
		if err := one.fn(stopCtx); err != nil {
			s.logger.ErrorContext(stopCtx, "stopping went wrong", "part", one.name, "error", err)
		}
		cancel()
	}
	s.stack = nil
}
