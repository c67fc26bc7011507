package streams

import (
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// judge gives an error of the broker's management API its verdict: a
// configuration it refuses (4xx) is refused again, everything else may pass.
func judge(err error) error {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.Code >= 400 && api.Code < 500 {
		return fault.Permanent(fault.Rejected, err)
	}
	return fault.Transient(fault.NATS, err)
}
