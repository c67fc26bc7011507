package publisher

import (
	"context"
	"errors"
	"fmt"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// standing is what the end of a publish, with all its repetitions, says about the
// broker: whether it takes what is to be stored in that stream. A single attempt
// that failed says nothing, since elections and restarts are made good within the
// budget. Nor does what no broker would take, a message of ours that another
// process stored first, or a caller who went away.
func standing(ctx context.Context, stream string, err error) guard.Answer {
	if err == nil {
		return guard.Answer{Kind: guard.Alive}
	}
	failed, ok := errors.AsType[*failure](err)
	if !ok || ctx.Err() != nil || fault.Of(err) == fault.GiveUp || failed.reason == reasonConflict {
		return guard.Answer{}
	}
	var why string
	switch failed.reason {
	case reasonTimeout:
		why = "no answer"
	case reasonDisconnected:
		why = "not connected"
	default:
		why = failed.Error()
	}
	return guard.Answer{Kind: guard.Away, Why: fmt.Sprintf("nothing can be stored in stream %s: %s", stream, why)}
}
