package finx

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxFields bounds the names taken from error.data.
const maxFields = 10

// firstCode is the lowest code finX has. What is below is an HTTP status that a
// gateway put in its own error object.
const firstCode = 1000

// errorBody is what an error answer says, unscrubbed.
type errorBody struct {
	code               int
	oauth              string // error code of RFC 6749 §5.2
	group, description string
	fields             []string // names in error.data: the fields code 1000 complains about
	// foreign: nothing in the body is finX's, nor OAuth's, so somebody in front of
	// finX has answered. The code and the OAuth error are empty then.
	foreign bool
	// asksBasic: a header of the answer asks for HTTP Basic. Not from the body.
	asksBasic bool
}

// decodeErrorBody reads an error answer in any of the shapes that finX, its
// predecessor and OAuth use:
//
//	{"error":{"code":1000,"data":{"field":["…"]},"description":"…","group":"client"}}
//	{"error":{"code":"1000",…}}   {"error":{"code":null,"group":"unknown","name":"…"},"status":400}
//	{"error":"invalid_grant","error_description":"…"}
//
// It never fails: what is not understood is left out. A body cut off in the
// middle gives what was complete. error.message is not read; it is the bank's own
// text and may be about the account.
//
// Codes count inside the error object only: firewalls answer with flat ones that
// look like finX's (1020 is a well-known one for a blocked address).
func decodeErrorBody(b []byte) errorBody {
	e := errorBody{foreign: true}
	d := newDecoder(b)
	_ = members(d, func(name string) error {
		switch {
		case name != "error":
			return e.beside(d, name)
		case d.PeekKind() == '{':
			return members(d, func(name string) error { return e.member(d, name) })
		}
		s, err := valueText(d)
		if !e.setOAuth(s) && e.description == "" {
			e.description = s
		}
		return err
	})
	return e
}

// beside takes in one member of the body that is not the error itself.
func (e *errorBody) beside(d *jsontext.Decoder, name string) error {
	s, err := valueText(d)
	if s != "" && (name == "description" || name == "error_description") {
		e.description = s
	}
	return err
}

// member takes in one member of the error object.
func (e *errorBody) member(d *jsontext.Decoder, name string) error {
	if name == "data" && d.PeekKind() == '{' {
		return members(d, func(field string) error {
			if isFieldName(field) && len(e.fields) < maxFields {
				e.fields = append(e.fields, field)
			}
			return d.SkipValue()
		})
	}
	s, err := valueText(d)
	if s == "" {
		return err
	}
	switch name {
	case "code":
		if n, err := strconv.Atoi(s); err != nil {
			e.setOAuth(s)
		} else if n >= firstCode {
			e.code, e.foreign = n, false
		}
	case "error", "name":
		e.setOAuth(s)
	case "group":
		if isFieldName(s) {
			e.group, e.foreign = s, false
		}
	case "description":
		e.description, e.foreign = s, false
	case "error_description":
		e.description = s
	}
	return err
}

// valueText reads the next value as text, empty when it is none.
func valueText(d *jsontext.Decoder) (string, error) {
	v, err := d.ReadValue()
	if err != nil {
		return "", err
	}
	s, _ := text(v)
	return s, nil
}

// setOAuth keeps s when it is one of the codes of RFC 6749, 6750 or 7009.
func (e *errorBody) setOAuth(s string) bool {
	switch s {
	case oauthInvalidGrant, oauthInvalidClient, oauthUnauthorizedClient, oauthInvalidToken, oauthServerError, oauthUnavailable,
		"invalid_request", "invalid_scope", "unsupported_grant_type", "access_denied", "insufficient_scope",
		"unsupported_token_type": // RFC 7009, of a revocation
		e.oauth, e.foreign = s, false
		return true
	}
	return false
}

// The OAuth error codes that decide a verdict.
const (
	oauthInvalidGrant       = "invalid_grant"
	oauthInvalidClient      = "invalid_client"
	oauthUnauthorizedClient = "unauthorized_client"
	oauthInvalidToken       = "invalid_token"
	oauthServerError        = "server_error"
	oauthUnavailable        = "temporarily_unavailable"
)

// isFieldName keeps everything out of an error text that is not a plain name.
func isFieldName(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, letters+"_.") == ""
}
