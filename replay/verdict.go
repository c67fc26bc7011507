package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/streamread"
)

// Error codes of the broker that say "later", though their status says "never",
// and that the client has no names for.
const (
	codeTooManyRequests jetstream.ErrorCode = 10167 // the stream's ingest buffer is full
	codeInProcess       jetstream.ErrorCode = 10158 // the same message id is just being stored
)

// judgeRead gives an error of a question to the JetStream API, such as
// STREAM.INFO.FINX_EVENTS, its verdict: what the broker refuses (4xx, or to take
// the question) it refuses again, the rest may pass.
func (r *Replayer) judgeRead(question string, err error) error {
	if _, judged := errors.AsType[*fault.Error](err); judged || err == nil {
		return err
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.Code >= 400 && api.Code < 500 {
		return fault.Permanent(fault.Rejected, err)
	}
	if subject := streamread.Subject(r.cfg.JS, question); r.mayNot(subject, err) {
		return fault.Permanent(fault.Rejected, fmt.Errorf("the broker refuses this user to ask %s: %w", subject, err))
	}
	return fault.Transient(fault.NATS, err)
}

// judgeWrite gives an error of a publish its verdict. What got no answer may be
// stored: repeating it under its id is harmless.
func (r *Replayer) judgeWrite(subject string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return fault.Permanent(fault.Oversize, err)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return fault.Transient(fault.NATS, fmt.Errorf("no stream takes %s (missing, or electing a leader): %w", subject, err))
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch {
		case api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
			return fault.Permanent(fault.Oversize, err)
		case api.ErrorCode == codeTooManyRequests, api.ErrorCode == codeInProcess:
			return fault.Transient(fault.NATS, err)
		case api.Code >= 400 && api.Code < 500:
			return fault.Permanent(fault.Rejected, err)
		}
		return fault.Transient(fault.NATS, err)
	}
	if r.mayNot(subject, err) {
		return fault.Permanent(fault.Rejected, fmt.Errorf("the broker refuses this user to publish to %s: %w", subject, err))
	}
	return fault.Ambiguous(fault.NATS, err)
}

// mayNot reports whether silence on a subject was a refusal: that comes out of
// band, on the connection.
func (r *Replayer) mayNot(subject string, err error) bool {
	silent := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrPermissionViolation)
	last := r.cfg.JS.Conn().LastError()
	return silent && errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), `"`+subject)
}
