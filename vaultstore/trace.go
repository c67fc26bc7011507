package vaultstore

import (
	"context"
	"errors"
	"time"

	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// spanOf stands before the name of an operation in the name of its span.
const spanOf = "vault."

// trace makes the span of an operation, with all requests that it took. A record that
// is not there is an answer.
func trace(ctx context.Context, operation string, started time.Time, err error) {
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	telemetry.Record(ctx, telemetry.Client, spanOf+operation, started, err)
}
