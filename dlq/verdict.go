package dlq

import (
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// judge gives an error of the broker its verdict: what it refuses (4xx), it
// refuses again; an event that is too large stays so; the rest may pass. An
// error that was judged already is left alone.
func judge(err error) error {
	if _, judged := errors.AsType[*fault.Error](err); judged || err == nil {
		return err
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.Code >= 400 && api.Code < 500 {
		return fault.Permanent(fault.Rejected, err)
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		return fault.Permanent(fault.Oversize, err)
	}
	return fault.Transient(fault.NATS, err)
}
