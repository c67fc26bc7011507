package retry_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/retry"
)

func TestWithin(t *testing.T) {
	late := errors.New("too late")
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := retry.Within(t.Context(), time.Second, late)
		defer stop()
		time.Sleep(time.Second - time.Millisecond)
		synctest.Wait()
		if err := ctx.Err(); err != nil {
			t.Errorf("ended before its time: %v", err)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if cause := context.Cause(ctx); !errors.Is(cause, late) {
			t.Errorf("cause %v, want that of the limit", cause)
		}
		ended, end := retry.Within(t.Context(), time.Second, late)
		end()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if cause := context.Cause(ended); !errors.Is(cause, context.Canceled) {
			t.Errorf("cause %v of one that was stopped", cause)
		}
		parent, cancel := context.WithCancelCause(t.Context())
		child, end := retry.Within(parent, time.Second, late)
		defer end()
		reason := errors.New("reason")
		cancel(reason)
		if cause := context.Cause(child); !errors.Is(cause, reason) {
			t.Errorf("cause %v, want that of the parent", cause)
		}
	})
}
