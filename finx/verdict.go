package finx

import (
	"net/http"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// auth says how a call shows who is asking, which decides what a refusal means.
type auth uint8

const (
	asClient auth = iota // HTTP Basic
	asGrant              // HTTP Basic at the token endpoint: spends a code or a refresh token
	asUser               // Bearer
)

// The finX codes that have a meaning of their own here. The whole list is in the
// reference, as far as it could be read.
const (
	codeUnauthorized  = 1003
	codeInvalidClient = 1004
	codeBusy          = 1008
	codeUserLocked    = 1010
	codeTooManySyncs  = 1020
)

// Waits where finX names none. The reference gives no figures: a locked user is
// let in again by somebody, not by the second; four syncs a day are six hours apart.
const (
	userLockedWait   = 15 * time.Minute
	tooManySyncsWait = 6 * time.Hour
)

// judgement is the verdict on an answer before Retry-After is looked at.
type judgement struct {
	verdict   fault.Verdict
	ambiguous bool
	wait      time.Duration // of WaitUntil without Retry-After; 0 is Config.ThrottleDefault
	sentinel  error
}

// judge is the whole verdict table on answers that are not 2xx. It is pure.
//
// The order is the precedence: what the status alone decides comes first, because
// a 5xx is no finding about the request whatever its body says; then what the
// words of finX decide; and a 4xx that is left is a refusal for good, if it is
// finX's. A firewall's rule or a deploy under way must not end a connection.
func judge(a auth, status int, e errorBody) judgement {
	if j, ok := judgeStatus(a, status); ok {
		return j
	}
	if j, ok := judgeIdentity(a, status, e); ok {
		return j
	}
	if j, ok := judgeWords(a, status, e); ok {
		return j
	}
	if e.foreign && !tooMuch(status) {
		// Not ambiguous: what answered here has not passed the request on.
		return judgement{verdict: fault.Retry, sentinel: ErrNotFinX}
	}
	return judgement{verdict: fault.GiveUp}
}

// judgeStatus decides everything but the 4xx about the request itself.
func judgeStatus(a auth, status int) (judgement, bool) {
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		// finX's way of throttling is 503; 429 is the undocumented usual one.
		return judgement{verdict: fault.WaitUntil}, true
	case status >= 300 && status < 400:
		// Not ambiguous: a token endpoint does not redirect, so it was not reached.
		return judgement{verdict: fault.Retry, sentinel: ErrNotFinX}, true
	case status < 200 || status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return judgement{verdict: fault.Retry, ambiguous: a == asGrant}, true
	case status == http.StatusMisdirectedRequest, status == http.StatusProxyAuthRequired:
		return judgement{verdict: fault.Retry, sentinel: ErrNotFinX}, true
	}
	return judgement{}, false
}

// judgeIdentity tells the three credentials apart: grant, client, access token.
func judgeIdentity(a auth, status int, e errorBody) (judgement, bool) {
	client := e.code == codeInvalidClient || e.oauth == oauthInvalidClient || e.oauth == oauthUnauthorizedClient
	// A 401 whose code is about something else is not about who asks.
	unauthorized := status == http.StatusUnauthorized && !isOwnLimit(e.code) && !isBeyondTheUser(e.code)
	switch {
	case a == asUser && (unauthorized || e.code == codeUnauthorized || e.oauth == oauthInvalidToken):
		return judgement{verdict: fault.Retry, sentinel: ErrUnauthorized}, true
	case a == asUser:
		return judgement{}, false
	case client:
		return judgement{verdict: fault.Retry, sentinel: ErrClientCredentials}, true
	// How finX refuses a grant is not documented. RFC 6749 says invalid_grant; if
	// it is finX's own form, a client that is wrong has code 1004, so 1003 (not
	// authorised) is about the grant, where the status allows it: by RFC 6749 §5.2 a
	// grant is refused with 400, and a 401 that asks for Basic refuses the client.
	case a == asGrant && (e.oauth == oauthInvalidGrant || e.code == codeUnauthorized &&
		(status == http.StatusBadRequest || status == http.StatusUnauthorized && !e.asksBasic)):
		return judgement{verdict: fault.GiveUp, sentinel: ErrInvalidGrant}, true
	// A 401 that says no more blames the client: taking it for a bad grant would
	// end connections, taking it for a bad client only waits for the operator.
	case unauthorized, e.code == codeUnauthorized:
		return judgement{verdict: fault.Retry, sentinel: ErrClientCredentials}, true
	}
	return judgement{}, false
}

// judgeWords reads the 4xx that are not for good.
//
// By range: 1xxx is about the request and 1xxxx (10000–19999) about what the user
// has to do, so both are refusals, but for the codes named. The bank (20000),
// general trouble (30000), the line to the bank (40000) and the categorisation
// (50000) may be well again by the next attempt. Their lists could not be read:
// trying again costs a call, giving up would cost an event.
func judgeWords(a auth, status int, e errorBody) (judgement, bool) {
	switch {
	case status == http.StatusLocked, e.code == codeBusy:
		return judgement{verdict: fault.WaitUntil}, true
	case e.code == codeUserLocked:
		return judgement{verdict: fault.WaitUntil, wait: userLockedWait}, true
	case e.code == codeTooManySyncs:
		return judgement{verdict: fault.WaitUntil, wait: tooManySyncsWait}, true
	case isBeyondTheUser(e.code):
		return judgement{verdict: fault.Retry}, true
	case e.oauth == oauthServerError:
		return judgement{verdict: fault.Retry, ambiguous: a == asGrant}, true
	case e.oauth == oauthUnavailable:
		return judgement{verdict: fault.WaitUntil}, true
	}
	return judgement{}, false
}

// tooMuch reports the statuses by which any server, not only finX, says that the
// request itself is too large for it, as it will be at the next attempt.
func tooMuch(status int) bool {
	return status == http.StatusRequestEntityTooLarge || status == http.StatusRequestURITooLong || status == http.StatusRequestHeaderFieldsTooLarge
}
