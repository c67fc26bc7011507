package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// ErrOversize is an account object that fits into no message.
var ErrOversize = errors.New("larger than the broker takes in one message")

// Error codes of the broker that the client has no names for.
const (
	codeAccountResources jetstream.ErrorCode = 10002 // resource limits exceeded for account
	codeInsufficient     jetstream.ErrorCode = 10023 // insufficient resources
	codeMemoryExceeded   jetstream.ErrorCode = 10028 // insufficient memory resources available
	codeStorageExceeded  jetstream.ErrorCode = 10047 // insufficient storage resources available
	codeWrongStream      jetstream.ErrorCode = 10060 // expected stream does not match
	codeStoreFailed      jetstream.ErrorCode = 10077 // a full stream says so by its text
	codeTooManyRequests  jetstream.ErrorCode = 10167 // the stream's ingest buffer is full
	codeInProcess        jetstream.ErrorCode = 10158 // another replica is just storing the same event
)

// reason is a metric label: why an attempt failed.
type reason string

const (
	reasonNoStream     reason = "no_stream"
	reasonTimeout      reason = "timeout"
	reasonDisconnected reason = "disconnected"
	reasonBusy         reason = "busy"
	reasonStoreFull    reason = "store_full"
	reasonWrongStream  reason = "wrong_stream"
	reasonPermission   reason = "permission"
	reasonConflict     reason = "conflict" // another process stores the same object
	reasonOversize     reason = "oversize"
	reasonOther        reason = "other"
)

func reasons() []reason {
	return []reason{
		reasonNoStream, reasonTimeout, reasonDisconnected, reasonBusy, reasonStoreFull,
		reasonWrongStream, reasonPermission, reasonConflict, reasonOversize, reasonOther,
	}
}

// failure carries the reason up to the metric.
type failure struct {
	reason reason
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func reasonOf(err error) reason {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.reason
	}
	return reasonOther
}

// judge gives the failure of one attempt its verdict. Only an event that is too
// large is given up: everything else is either passing or a mistake of the
// installation, and a dead letter for those would be an event lost to a typo.
func (p *Publisher) judge(subject, stream string, err error) error {
	r, text := classify(err)
	if r == reasonTimeout {
		// A refused publish is never answered: the reason comes out of band, on
		// the connection, and is all that tells it from a slow broker.
		if last := p.cfg.JS.Conn().LastError(); refusedPublish(last, subject) {
			r, text = reasonPermission, "the broker refuses this user to publish to "+subject
		}
	}
	f := &failure{reason: r, err: err}
	if text != "" {
		f.err = fmt.Errorf("%s: %w", text, err)
	}
	switch r {
	case reasonOversize:
		return fault.Permanent(fault.Oversize, f)
	case reasonStoreFull:
		f.err = fmt.Errorf("stream %s is full: %w", stream, err)
		return fault.Throttled(fault.NATS, time.Now().Add(p.fullWait), f)
	case reasonTimeout, reasonDisconnected:
		return fault.Ambiguous(fault.NATS, f) // it may be stored; the id makes repeating harmless
	default:
		return fault.Transient(fault.NATS, f)
	}
}

// classify sorts an error of the client or the broker, and says what it means
// where its own words do not.
func classify(err error) (reason, string) {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return classifyAPI(api)
	}
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return reasonOversize, ""
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return reasonNoStream, "no stream takes it (a leader is being elected; or it is missing: run `finx-connector streams apply`)"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, nats.ErrTimeout):
		return reasonTimeout, ""
	case errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrConnectionReconnecting), errors.Is(err, nats.ErrReconnectBufExceeded),
		errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, nats.ErrStaleConnection):
		return reasonDisconnected, ""
	}
	return reasonOther, ""
}

func classifyAPI(api *jetstream.APIError) (reason, string) {
	switch api.ErrorCode {
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return reasonOversize, "above the stream's max_msg_size"
	case codeTooManyRequests, codeInProcess:
		return reasonBusy, ""
	case codeStorageExceeded, codeMemoryExceeded, codeInsufficient, codeAccountResources:
		return reasonStoreFull, ""
	case codeStoreFailed:
		// The code is shared with I/O errors; the limits are told by their text.
		if strings.Contains(api.Description, "maximum") {
			return reasonStoreFull, ""
		}
		return reasonOther, ""
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return reasonConflict, "" // the second is what replicated streams answer with
	case jetstream.JSErrCodeStreamNotFound:
		return reasonNoStream, "" // its own words say it
	case codeWrongStream:
		return reasonWrongStream, "the subject is bound to another stream"
	case jetstream.JSErrCodeMessageSchedulesDisabled:
		return reasonWrongStream, "the stream keeps no schedules (streams apply turns them on)"
	case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount:
		return reasonNoStream, ""
	}
	return reasonOther, ""
}

func refusedPublish(err error, subject string) bool {
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+subject+`"`)
}
