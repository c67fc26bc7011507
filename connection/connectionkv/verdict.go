package connectionkv

import (
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// judgeWrite gives the verdict on an error of a write. What the server has
// answered was not stored; what nobody answered may have been.
func judgeWrite(err error) error {
	if errors.Is(err, nats.ErrMaxPayload) {
		return fault.Permanent(fault.Oversize, err)
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence,
			// replicated streams answer with this one as often (seen on server 2.15)
			jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return conflict()
		case jetstream.JSErrCodeStreamMessageExceedsMaximum:
			return fault.Permanent(fault.Oversize, err)
		}
		return fault.Transient(fault.NATS, err)
	}
	if neverSent(err) {
		return fault.Transient(fault.NATS, err)
	}
	return fault.Ambiguous(fault.NATS, err)
}

// neverSent reports whether err says that no server took the request: nobody
// listens on the subject (no bucket, or no leader for the moment), or the client
// is not connected and, as natsconn sets it up, does not buffer.
func neverSent(err error) bool {
	for _, target := range []error{
		jetstream.ErrNoStreamResponse, nats.ErrNoResponders,
		nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting, nats.ErrConnectionDraining,
		nats.ErrInvalidConnection,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// judgeRead gives the verdict on an error of a read: reading again is always
// right, because an answer that cannot be had is an outage of the broker.
func judgeRead(err error) error { return fault.Transient(fault.NATS, err) }

// conflict is worth another try from a fresh read, and no server's fault.
func conflict() error { return fault.Transient("", connection.ErrConflict) }
