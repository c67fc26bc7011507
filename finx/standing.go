package finx

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// isNarrow reports whether a refusal is about the subject of its call alone: one
// access token, one user, one bank. It is pure.
//
// The codes of a user's own limits count whatever the status: they come with 423,
// and with 429 or 503 if finX takes them for throttling. A 5xx, or another status
// that decides alone, is finX's own failing unless its words name somebody else: of
// the ranges that are not about the request, the reference calls 20000 the bank and
// 40000 the connection to it, where 30000 is "general" and 50000 the
// categorisation, both of them parts of finX.
func isNarrow(status int, e errorBody, j judgement) bool {
	_, decided := judgeStatus(asClient, status)
	switch {
	case j.sentinel != nil:
		return errors.Is(j.sentinel, ErrUnauthorized)
	case status == http.StatusLocked, isOwnLimit(e.code), isAtTheBank(e.code):
		return true
	}
	return !decided && isBeyondTheUser(e.code)
}

// isOwnLimit knows the codes that say that this one user, or what belongs to the
// user, is to be left alone.
func isOwnLimit(code int) bool {
	return code == codeBusy || code == codeUserLocked || code == codeTooManySyncs
}

// isBeyondTheUser knows the codes that are neither about the request nor about what
// the user has to do.
func isBeyondTheUser(code int) bool { return code >= 20000 && code < 60000 }

// isAtTheBank knows those of them that are about the bank or the line to it.
func isAtTheBank(code int) bool {
	return code >= 20000 && code < 30000 || code >= 40000 && code < 50000
}

// standing is what an answer that is not 2xx says about finX as a whole, whatever
// it says about the call. It is pure; Until is left to whoever has the header.
func standing(status int, e errorBody, j judgement) guard.Answer {
	switch {
	case isNarrow(status, e, j):
		return guard.Answer{Kind: guard.Alive}
	case errors.Is(j.sentinel, ErrClientCredentials):
		// finX works, but for nobody who comes with these: it is as good as away.
		return away("finX refuses the client credentials (FINX_CLIENT_ID, FINX_CLIENT_SECRET)")
	case errors.Is(j.sentinel, ErrNotFinX):
		return away(notFinX(status))
	case j.verdict == fault.WaitUntil:
		return guard.Answer{Kind: guard.Throttled, Why: fmt.Sprintf("finX asks to wait (status %d)", status)}
	case j.verdict == fault.Retry:
		return away(fmt.Sprintf("finX answers with status %d", status))
	case e.foreign:
		// A proxy that finds the request too large has not asked finX.
		return guard.Answer{}
	}
	return guard.Answer{Kind: guard.Alive}
}

func away(why string) guard.Answer { return guard.Answer{Kind: guard.Away, Why: why} }

func notFinX(status int) string {
	return fmt.Sprintf("something that is not finX answers with status %d: check the base URL, the paths and what is in front of finX", status)
}

// silence is what an attempt says about finX that ended without an answer, or in
// the middle of one: nothing when the caller ended it. err must be safe to show.
func silence(ctx context.Context, err error) guard.Answer {
	if ctx.Err() != nil {
		return guard.Answer{}
	}
	return away("no answer of finX: " + err.Error())
}

// misunderstanding is what a 2xx answer says about finX that came whole and is of
// no use to the call.
func misunderstanding(status int, foreign bool) guard.Answer {
	if foreign {
		return away(notFinX(status))
	}
	return guard.Answer{Kind: guard.Alive}
}

// The members that answers of finX have. They tell an answer of finX that is broken
// or of another shape from one that something in front of it made up.
const (
	memberLocation     = "location"
	memberAccessToken  = "access_token"
	memberAccounts     = "accounts"
	memberTransactions = "transactions"
)

// decodeError is the error of an answer that came whole and was not understood.
type decodeError struct {
	err     error
	foreign bool // nothing in it is finX's
}

func (e *decodeError) Error() string { return e.err.Error() }
func (e *decodeError) Unwrap() error { return e.err }

// misunderstood makes err, if there is one, the error of a body that came whole.
func misunderstood(body []byte, member string, err error) error {
	if err == nil {
		return nil
	}
	return &decodeError{err: err, foreign: !isFinXs(body, member)}
}

// isFinXs reports whether a body was made by finX as far as can be told: it is a
// bare list, or an object with the member that was asked for, however that looks,
// or an error in finX's words. A gateway's page, its own JSON and nothing at all
// are not.
func isFinXs(body []byte, member string) bool {
	d := newDecoder(body)
	if d.PeekKind() == '[' {
		return true
	}
	found := false
	_ = members(d, func(name string) error {
		found = found || name == member
		return d.SkipValue()
	})
	return found || !decodeErrorBody(body).foreign
}
