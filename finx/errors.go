package finx

import (
	"errors"
	"fmt"
	"strings"
)

// Sentinels to be found with errors.Is. The verdict of internal/fault says what
// to do about an error; these say which of the special cases it is.
var (
	// ErrInvalidGrant: finX says that the code or refresh token is not valid (any
	// more). Only its own word counts: never a 5xx, a 429 or the network.
	ErrInvalidGrant = errors.New("finX does not accept the grant")
	// ErrUnauthorized: finX does not accept the access token. Refresh it; the same
	// call with the same token is not repeated inside.
	ErrUnauthorized = errors.New("finX does not accept the access token")
	// ErrClientCredentials: finX does not accept the client id and secret, or does
	// not allow them the call. Waiting mends nothing but the operator can, so the
	// verdict is Retry and no event is lost.
	ErrClientCredentials = errors.New("finX does not accept the client credentials (FINX_CLIENT_ID, FINX_CLIENT_SECRET)")
	// ErrNotFinX: the answer was not finX's: a redirect, or a refusal in which
	// nothing is finX's, such as a gateway's. The base URL, a path or something in
	// between is wrong, or finX is being deployed: the verdict is Retry.
	ErrNotFinX = errors.New("the answer is not finX's (check the base URL, the paths and what is in front of finX)")
)

// APIError is what finX answered to a call that it did not carry out. Its texts
// are safe to log and to store: finX's words are cut short and scrubbed of the
// secrets sent and of everything shaped like one.
type APIError struct {
	Op          string // what was being done: "refreshing token"
	Status      int    // HTTP status
	Code        int    // finX's error code, 0 when it gave none
	OAuthError  string // error code of RFC 6749, e.g. invalid_grant
	Group       string // finX's group of Code, e.g. client
	Description string // at most 200 bytes
	Fields      []string
	// RequestID is the X-Request-ID of the answer, or else the one that was sent.
	RequestID string

	sentinel error
}

// Error returns one line: the special case if it is one, then what finX said.
func (e *APIError) Error() string {
	var b strings.Builder
	if e.sentinel != nil {
		b.WriteString(e.sentinel.Error() + ": ")
	}
	fmt.Fprintf(&b, "status %d", e.Status)
	if e.Code != 0 {
		fmt.Fprintf(&b, ", code %d", e.Code)
	}
	if e.Group != "" {
		fmt.Fprintf(&b, " (%s)", e.Group)
	}
	if e.OAuthError != "" {
		b.WriteString(", " + e.OAuthError)
	}
	if len(e.Fields) > 0 {
		b.WriteString(", fields " + strings.Join(e.Fields, " "))
	}
	if e.Description != "" {
		fmt.Fprintf(&b, ", %q", e.Description)
	}
	if e.RequestID != "" {
		b.WriteString(", request id " + e.RequestID)
	}
	return b.String()
}

// Unwrap returns the sentinel of the special case, or nil.
func (e *APIError) Unwrap() error { return e.sentinel }

// quietError says in a scrubbed text what err says, and keeps err for errors.Is
// and As: net/http quotes the bytes of an answer it cannot read.
type quietError struct {
	text string
	err  error
}

func (e *quietError) Error() string { return e.text }
func (e *quietError) Unwrap() error { return e.err }
