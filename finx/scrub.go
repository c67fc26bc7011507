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
	maxRequestID   = 64
	letters        = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	withheld       = "[redacted]"
	// A run of this many token characters that is not a plain word, or twice as
	// many of any, is taken for a token, an IBAN or an account number.
	tokenRun = 16
	// From this length on the beginning of a secret is taken for the secret.
	beginning = 6
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
		s.secrets = append(s.secrets, v, url.QueryEscape(v), url.PathEscape(v),
			base64.StdEncoding.EncodeToString([]byte(v)), base64.RawURLEncoding.EncodeToString([]byte(v)))
		if quoted, err := json.Marshal(v); err == nil {
			s.secrets = append(s.secrets, string(quoted[1:len(quoted)-1]))
		}
	}
	return s
}

// exact removes the secrets themselves and their beginnings. It looks at every
// place for every spelling: they overlap, and one taken out before another would
// leave the rest of that one standing.
func (s scrubber) exact(text string) string {
	var out strings.Builder
	clean := 0 // up to here text has been taken over or withheld
	for i := range len(text) {
		end := i + s.matches(text[i:])
		if end == i || end <= clean {
			continue
		}
		if i > clean || clean == 0 {
			out.WriteString(text[clean:i] + withheld)
		}
		clean = end
	}
	out.WriteString(text[clean:])
	return out.String()
}

// matches returns how much of the beginning of text is a secret or the beginning
// of one.
func (s scrubber) matches(text string) (longest int) {
	for _, v := range s.secrets {
		n := 0
		for n < len(v) && n < len(text) && v[n] == text[n] {
			n++
		}
		if n == len(v) || n >= beginning {
			longest = max(longest, n)
		}
	}
	return longest
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

// requestID keeps an id only if it is one by its length and characters. Its shape
// is a token's, so only the secrets sent are looked for in it.
func (s scrubber) requestID(id string) string {
	if len(id) > maxRequestID || strings.Trim(id, letters+"0123456789._:-") != "" {
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
		if run := w[:n]; len(run) >= 2*tokenRun || (len(run) >= tokenRun && !isPlainWord(run)) {
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

func tokenRune(r rune) bool { return strings.ContainsRune(letters+"0123456789-_.~+/=%", r) }

// isPlainWord reports whether w is written like a long word or a host name: small
// letters, perhaps after one capital, perhaps joined.
func isPlainWord(w string) bool { return strings.Trim(w[1:], letters[:26]+"-_.") == "" }

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[:n-len("…")]
	return strings.ToValidUTF8(s, "") + "…"
}
