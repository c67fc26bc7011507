package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// CallbackGivenUp tells upstream that a callback which was tried for as long as
// allowed has led nowhere: a user waits for its result. The callback's end is
// not written down as known: a redrive that comes through establishes the
// connection after all.
func (f *Flow) CallbackGivenUp(ctx context.Context, e events.Envelope, in events.CallbackReceived, class fault.Class, cause error) error {
	binding, err := f.States.LookupState(ctx, in.State)
	if errors.Is(err, connection.ErrNotFound) {
		return nil // nobody to tell
	}
	if err != nil {
		return fmt.Errorf("flow: looking up the state: %w", err)
	}
	rec, rev, err := f.Records.Get(ctx, binding.ConnectionID)
	if errors.Is(err, connection.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("flow: reading the connection: %w", err)
	}
	mark := renewalMark(e)
	if !in.Code.IsZero() {
		mark = in.Code.SHA256()
	}
	if rec.State == connection.Erased || rec.EstablishedBy == mark || rec.Settled(mark) {
		return nil // its end is known; only what follows from it failed
	}
	why := failure{state: in.State, code: mark, open: true}
	why.reason, why.detail = f.lastWords(ctx, in, binding, rec, cause)
	why.detail = fmt.Sprintf("given up (%s): %s", class, why.detail)
	return f.failConnection(ctx, e.Cause(), rec, rev, why)
}

// lastWords says what became of a callback that is given up, as exactly as can
// be known while something is away.
func (f *Flow) lastWords(ctx context.Context, in events.CallbackReceived, binding connection.StateBinding,
	rec connection.Record, cause error,
) (reason, detail string) {
	switch {
	case in.Cancelled:
		return events.ReasonCancelled, "the user cancelled"
	case !in.Success:
		return events.ReasonUnsuccessful, "finX reports success=false"
	case in.Code.IsZero():
		return events.ReasonUnsuccessful, "the bank renewed the access, but the tokens of before could not be tried: " + detailOf(cause)
	case binding.CodeSHA256 != in.Code.SHA256():
		// The state is consumed before a code is sent.
		return events.ReasonCodeExpired, "the code was never sent to finX: " + detailOf(cause)
	}
	end := cause
	if f.Background != nil {
		end = f.Background.Keeping.Resolve(ctx, rec.ID, f.CodeLifetime)
	}
	_, ofTokens := endOf(end)
	switch {
	case errors.Is(end, custody.ErrCodeRejected):
		return events.ReasonCodeRejected, detailOf(end)
	case end == nil || ofTokens: // no call with the code is open
		return events.ReasonCodeExpired, "the code could not be exchanged in time: " + detailOf(cause)
	}
	// A call is open, or Vault cannot be asked: tokens may have been issued.
	return events.ReasonExchangeOutcomeUnknown, "finX may have taken the code; the user must connect again: " + detailOf(cause)
}

// tooOld ends a callback whose code is not sent any more. An earlier delivery
// may have sent it and died: then tokens may have been issued, which upstream
// must not take for a code that merely expired.
func (f *Flow) tooOld(ctx context.Context, e events.Envelope, in events.CallbackReceived,
	binding connection.StateBinding, rec connection.Record, rev uint64,
) error {
	hash := in.Code.SHA256()
	if f.Background != nil && binding.CodeSHA256 == hash {
		// The callback is in hand and its code is not sent again: nothing is waited for.
		end := f.Background.Keeping.Resolve(ctx, rec.ID, 0)
		_, ofTokens := endOf(end)
		switch {
		case end == nil:
			grant, done, err := f.Tokens.Exchanged(ctx, rec.ID, in.Code)
			if err != nil {
				return fmt.Errorf("flow: asking for an earlier exchange: %w", err)
			}
			if done {
				return f.establish(ctx, e, in, rec, rev, grant) // the answer was in escrow
			}
		case !ofTokens:
			return f.exchangeFailed(ctx, e, in, rec, rev, end)
		}
	}
	return f.failConnection(ctx, e.Cause(), rec, rev, failure{
		state: in.State, reason: events.ReasonCodeExpired, code: hash,
		detail: fmt.Sprintf("the callback is %s old, a code lives %s", time.Since(e.Time).Round(time.Second), f.CodeLifetime),
	})
}
