package retry

import (
	"context"
	"time"
)

// asleep is how late a timer fires only when the process was stopped meanwhile,
// and the time that an answer then has to be read.
const asleep = 500 * time.Millisecond

// Within is context.WithTimeoutCause for an answer that must not be missed. A
// process that was stopped while it waited (SIGSTOP, a paused machine) finds its
// time over and, often, the answer in its socket; it gets a moment to read it.
func Within(ctx context.Context, limit time.Duration, cause error) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	due := time.Now().Add(limit)
	timer := time.AfterFunc(limit, func() {
		if time.Since(due) > asleep {
			time.AfterFunc(asleep, func() { cancel(cause) })
			return
		}
		cancel(cause)
	})
	return ctx, func() {
		timer.Stop()
		cancel(context.Canceled)
	}
}
