package vaultstore

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// errLogin marks the error of a login. Vault refuses one with the status of any
// bad request.
var errLogin = errors.New("logging in")

// recordError is the error of a record that Vault handed out and that is not
// understood.
type recordError struct{ err error }

func (e *recordError) Error() string { return e.err.Error() }
func (e *recordError) Unwrap() error { return e.err }

// standing is what the outcome of an operation says about Vault as a whole. It is
// judged by operations and not by calls: the look after a lost write, or at what a
// policy need not allow, may succeed or fail without meaning anything for records.
//
// Vault works when it answers about the record or the request; it is as good as
// away when it cannot answer, or lets nobody through: sealed, no token to be had,
// forbidden, nothing mounted. What was never sent says nothing, nor does a refusal
// of transit, without which records are kept all the same.
func standing(ctx context.Context, err error) guard.Answer {
	_, ofRecord := errors.AsType[*recordError](err)
	answer, answered := errors.AsType[*statusError](err)
	switch {
	case err == nil, ofRecord, errors.Is(err, ErrNotFound), errors.Is(err, ErrConflict):
		return guard.Answer{Kind: guard.Alive}
	case fault.Of(err) == fault.GiveUp && !answered:
		return guard.Answer{}
	case fault.Of(err) == fault.GiveUp:
		return guard.Answer{Kind: guard.Alive}
	case !answered && ctx.Err() != nil:
		return guard.Answer{} // the caller went away
	case answered && answer.status == http.StatusTooManyRequests:
		return guard.Answer{Kind: guard.Throttled, Until: answer.until, Why: "Vault asks to wait: " + answer.Error()}
	case errors.Is(err, errLogin):
		return away("no login to Vault: ", err)
	case errors.Is(err, errDenied):
		return guard.Answer{Kind: guard.Away, Why: "Vault: " + errDenied.Error()}
	case answered && answer.status == http.StatusBadRequest && !answer.foreign:
		return guard.Answer{Kind: guard.Alive}
	case answered:
		return away("Vault answers with ", answer)
	}
	return away("no answer of Vault: ", err)
}

// away says what happened without the whole chain, which names the record, and the
// address with its path.
func away(what string, err error) guard.Answer {
	if e, ok := errors.AsType[*statusError](err); ok {
		err = e
	} else if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	} else if e, ok := errors.AsType[*fault.Error](err); ok {
		err = e.Err
	}
	return guard.Answer{Kind: guard.Away, Why: what + err.Error()}
}
