// Package secret holds values that must not be printed: tokens, codes, client
// secrets, widget links.
//
// A Text shows itself as "[redacted]" through fmt, slog, encoding/json and
// error texts. Only Reveal gives the value out, so `grep Reveal` lists every
// place where a secret leaves its wrapping.
package secret

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Text is a secret string. The zero value is the absent secret. It is safe for
// concurrent use and comparable with ==.
type Text struct{ value string }

// New wraps s.
func New(s string) Text { return Text{value: s} }

// Reveal returns the secret itself. Call it only where the value goes over the
// wire or into the secret store.
func (t Text) Reveal() string { return t.value }

// IsZero reports whether there is no secret.
func (t Text) IsZero() bool { return t.value == "" }

// Len returns the length in bytes.
func (t Text) Len() int { return len(t.value) }

// SHA256 returns the lower-case hex SHA-256 of the secret: a name for it that
// may be stored and compared, never a way back to it.
func (t Text) SHA256() string {
	sum := sha256.Sum256([]byte(t.value))
	return hex.EncodeToString(sum[:])
}

// String returns "[redacted]", or "" for the absent secret.
func (t Text) String() string {
	if t.IsZero() {
		return ""
	}
	return redacted
}

// GoString keeps %#v from printing the value.
func (t Text) GoString() string { return "secret.Text(" + t.String() + ")" }

// Format keeps every verb, including %x, from printing the value.
func (t Text) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('#') {
		_, _ = fmt.Fprint(f, t.GoString())
		return
	}
	_, _ = fmt.Fprint(f, t.String())
}

// LogValue keeps slog from printing the value.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText keeps encoders from writing the value. Code that stores a secret
// calls Reveal and says so.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads a secret from a decoder.
func (t *Text) UnmarshalText(b []byte) error {
	t.value = string(b)
	return nil
}
