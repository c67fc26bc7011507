package finx

import (
	"context"
	"fmt"

	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// Gate decides whether and when an attempt may go out, and is told what its
// answer says about finX. A *guard.Guard is one. It must be safe for concurrent
// use.
type Gate interface {
	// Begin waits for a turn. Its error carries the verdict to wait and means that
	// nothing was sent. end is called exactly once, when the attempt is over.
	Begin(ctx context.Context, p guard.Priority) (end func(guard.Answer), err error)
	// Admit waits as Begin does. A Begin under the context it returns, or under one
	// with its values, never waits, and is refused only if finX was shut before the
	// first such call. release gives back what was
	// not used; after use it does nothing.
	Admit(ctx context.Context, p guard.Priority) (admitted context.Context, release func(), err error)
}

// waitForTurn is the span of a wait for the gate.
const waitForTurn = "wait for a turn at finX"

// AdmitToken waits until a token call may go out: ExchangeCode if exchange is set,
// else Refresh. Under the context it returns, or one with its values, the call and
// one repetition of it do not wait, so that what must be written before a call is
// seldom written for one that is never made: only if finX was shut in between, which
// the call says as finX itself would have.
//
// The error carries the verdict to wait and means that nothing was begun; it comes
// at once while finX is known to be away, and when ctx ends first. release must be
// called; it gives the turn back if no call was made.
func (c *Client) AdmitToken(ctx context.Context, exchange bool) (admitted context.Context, release func(), err error) {
	if c.cfg.Gate == nil {
		return ctx, func() {}, nil
	}
	priority := guard.Token
	if exchange {
		priority = guard.Callback
	}
	waited := telemetry.Waiting(ctx, waitForTurn)
	admitted, release, err = c.cfg.Gate.Admit(ctx, priority)
	waited(err)
	if err != nil {
		return nil, nil, fmt.Errorf("finx: waiting for the turn of a token call: %w", err)
	}
	return admitted, release, nil
}

// turn waits until an attempt of k may go out. end tells the gate what came of it.
func (c *Client) turn(ctx context.Context, k call) (end func(guard.Answer), err error) {
	if c.cfg.Gate == nil {
		return func(guard.Answer) {}, nil
	}
	waited := telemetry.Waiting(ctx, waitForTurn)
	end, err = c.cfg.Gate.Begin(ctx, k.priority)
	waited(err)
	if err != nil {
		return nil, fmt.Errorf("finx: %s: waiting for a turn: %w", k.doing, err)
	}
	return end, nil
}
