package consumer

import (
	"context"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// On joins the three steps of handling an event: the envelope is parsed, its
// data decoded, the typed event handled. What cannot be parsed or decoded is
// given up at once; reading it again would not change it.
func On[T any](codec events.Codec, decode func(events.Envelope) (T, error), handle func(context.Context, events.Envelope, T) error) Handler {
	return func(ctx context.Context, d Delivery) error {
		envelope, err := codec.Parse(d.Message)
		if err != nil {
			return malformed(err)
		}
		event, err := decode(envelope)
		if err != nil {
			return malformed(err)
		}
		return handle(ctx, carryOn(ctx, envelope), event)
	}
}

// ByType hands each event of a lane to the handler of its type, which its
// subject names. One without a handler is given up at once.
func ByType(codec events.Codec, handlers map[string]Handler) Handler {
	return func(ctx context.Context, d Delivery) error {
		typ, _ := codec.TypeOf(d.Subject)
		handle, ok := handlers[typ]
		if !ok {
			return malformed(&events.FieldError{Field: "subject", Problem: "no event of this lane"})
		}
		return handle(ctx, d)
	}
}

// malformed keeps a verdict that says give up and gives one to what has none.
func malformed(err error) error {
	if fault.Of(err) == fault.GiveUp {
		return err
	}
	return fault.Permanent(fault.Malformed, err)
}

// Dying is On for a lane's LastWords.
func Dying[T any](codec events.Codec, decode func(events.Envelope) (T, error),
	tell func(ctx context.Context, e events.Envelope, in T, class fault.Class, cause error) error,
) func(context.Context, Delivery, fault.Class, error) error {
	return func(ctx context.Context, d Delivery, class fault.Class, cause error) error {
		return On(codec, decode, func(ctx context.Context, e events.Envelope, in T) error {
			return tell(ctx, e, in, class, cause)
		})(ctx, d)
	}
}
