package finx

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"unicode"
)

const (
	maxDescription = 200 // bytes of finX's text that an error may carry
	maxRequestID   = 128
	withheld       = "[redacted]"
	// A run of token characters this long that holds a digit, or twice as long
	// without one, is taken for a token, an IBAN or an account number.
	tokenRun = 16
)

// scrubber takes out of finX's texts what must not travel in an error: finX has
// been seen to echo what it was sent, and peers have logged tokens that way.
type scrubber struct{ secrets []string }

// newScrubber knows the secrets of one call in every spelling they may come back in.
func newScrubber(secrets ...string) scrubber {
	var s scrubber
	for _, v := range secrets {
		// A secret of three letters would blank out ordinary words and protect nothing.
		if len(v) < 4 {
			continue
		}
		quoted, _ := json.Marshal(v)
		s.secrets = append(s.secrets, v, url.QueryEscape(v), url.PathEscape(v), strings.Trim(string(quoted), `"`),
			base64.StdEncoding.EncodeToString([]byte(v)), base64.RawURLEncoding.EncodeToString([]byte(v)))
	}
	return s
}

// exact removes the secrets themselves.
func (s scrubber) exact(text string) string {
	for _, v := range s.secrets {
		text = strings.ReplaceAll(text, v, withheld)
	}
	return text
}

// line makes one printable line of at most maxDescription bytes out of text,
// without the secrets, without anything shaped like a token, without addresses.
func (s scrubber) line(text string) string {
	text = strings.ToValidUTF8(s.exact(text), "?")
	words := strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
	for i, w := range words {
		words[i] = scrubWord(w)
	}
	return cut(strings.Join(words, " "), maxDescription)
}

// requestID keeps an id only if it is one: visible ASCII of a sane length. It is
// not judged by shape, which is a token's.
func (s scrubber) requestID(id string) string {
	if len(id) > maxRequestID || strings.IndexFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return ""
	}
	return s.exact(id)
}

// scrubWord blanks the token-shaped runs of a word, and all of it when it is an
// e-mail address: finX's user ids look like one.
func scrubWord(w string) string {
	if w == withheld {
		return w
	}
	if strings.Contains(w, "@") {
		return withheld
	}
	var out strings.Builder
	for len(w) > 0 {
		n := strings.IndexFunc(w, func(r rune) bool { return !tokenRune(r) })
		if n < 0 {
			n = len(w)
		}
		if run := w[:n]; len(run) >= 2*tokenRun || (len(run) >= tokenRun && strings.ContainsAny(run, "0123456789")) {
			out.WriteString(withheld)
		} else {
			out.WriteString(run)
		}
		w = w[n:]
		n = strings.IndexFunc(w, tokenRune)
		if n < 0 {
			n = len(w)
		}
		out.WriteString(w[:n])
		w = w[n:]
	}
	return out.String()
}

func tokenRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.~+/=%", r)
}

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[:n-len("…")]
	return strings.ToValidUTF8(s, "") + "…"
}
