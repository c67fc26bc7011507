package finx

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/finx-connector/finx-connector/internal/secret"
)

// Lifetimes of an access token that does not say how long it lives, or says
// something absurd.
const (
	defaultExpiresIn = time.Hour
	maxExpiresIn     = 90 * 24 * time.Hour
)

// decodeTokens reads the answer of the token endpoint. Only the tokens count:
// an optional field of a wrong type is ignored, and so is whatever follows the
// object.
//
// A body that breaks off is accepted when both tokens are complete in it. When
// only the access token is, a new refresh token may have been in the lost rest;
// pretending there was none would keep the old, dead one. A number counts as a
// token in its own spelling, for the same reason, unless it may have been cut.
func decodeTokens(b []byte) (Tokens, error) {
	t := Tokens{ExpiresIn: defaultExpiresIn}
	b = withoutMark(b)
	d := newDecoder(b)
	err := members(d, func(name string) error {
		v, err := d.ReadValue()
		if err != nil {
			return err
		}
		if v.Kind() == '0' && !endsValue(b[d.InputOffset():]) {
			return io.ErrUnexpectedEOF
		}
		t.take(name, v)
		return nil
	})
	if err != nil && (t.AccessToken.IsZero() || t.RefreshToken.IsZero()) {
		return Tokens{}, err
	}
	if t.AccessToken.IsZero() {
		return Tokens{}, fmt.Errorf("%w: no access_token", errShape)
	}
	return t, nil
}

func (t *Tokens) take(name string, v jsontext.Value) {
	s, ok := text(v)
	switch name {
	case memberAccessToken:
		if ok {
			t.AccessToken = secret.New(s)
		}
	case "refresh_token":
		if ok {
			t.RefreshToken = secret.New(s)
		}
	case "token_type":
		t.TokenType = s
	case "scope":
		t.Scope = s
	case "expires_in":
		t.ExpiresIn = expiresIn(s)
	}
}

// endsValue reports whether what follows a number ends it. A number has no closing
// mark of its own: one that the body breaks off after may be half of it.
func endsValue(rest []byte) bool {
	return len(rest) > 0 && strings.IndexByte(" \t\r\n,}", rest[0]) >= 0
}

// expiresIn reads seconds, as a number or a numeric string. Zero and less are a
// token that has come to its end: an answer given again within a grace window may
// be older than its access token lives.
func expiresIn(s string) time.Duration {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(n) {
		return defaultExpiresIn
	}
	return time.Duration(min(max(n, 0), maxExpiresIn.Seconds()) * float64(time.Second))
}
