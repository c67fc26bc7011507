package finx

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxFields bounds the names taken from error.data.
const maxFields = 10

// errorBody is what an error answer says, unscrubbed.
type errorBody struct {
	code               int
	oauth              string // error code of RFC 6749 §5.2
	group, description string
	fields             []string // names in error.data: the fields code 1000 complains about
	foreign            bool     // not JSON: somebody in front of finX has answered
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
func decodeErrorBody(b []byte) errorBody {
	var e errorBody
	first := bytes.TrimLeft(b, " \t\r\n")
	e.foreign = len(first) > 0 && first[0] != '{'
	if len(first) == 0 || e.foreign {
		return e
	}
	d := newDecoder(b)
	_ = members(d, func(name string) error {
		if name == "error" && d.PeekKind() == '{' {
			return members(d, func(name string) error { return e.member(d, name) })
		}
		return e.member(d, name)
	})
	return e
}

// member takes in one member of the error object, or of the body around it.
func (e *errorBody) member(d *jsontext.Decoder, name string) error {
	if name == "data" && d.PeekKind() == '{' {
		return members(d, func(field string) error {
			if isFieldName(field) && len(e.fields) < maxFields {
				e.fields = append(e.fields, field)
			}
			return d.SkipValue()
		})
	}
	v, err := d.ReadValue()
	if err != nil {
		return err
	}
	s, ok := text(v)
	if !ok {
		return nil
	}
	switch name {
	case "code":
		if n, err := strconv.Atoi(s); err == nil {
			e.code = n
		} else {
			e.setOAuth(s)
		}
	case "error", "name":
		if !e.setOAuth(s) && name == "error" && e.description == "" {
			e.description = s
		}
	case "group":
		if isFieldName(s) {
			e.group = s
		}
	case "description", "error_description":
		e.description = s
	}
	return nil
}

// setOAuth keeps s when it is one of the codes of RFC 6749 or 6750.
func (e *errorBody) setOAuth(s string) bool {
	switch s {
	case oauthInvalidGrant, oauthInvalidClient, oauthUnauthorizedClient, oauthInvalidToken, oauthServerError, oauthUnavailable,
		"invalid_request", "invalid_scope", "unsupported_grant_type", "access_denied", "insufficient_scope":
		e.oauth = s
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
