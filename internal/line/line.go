// Package line makes one line of a text that may be anything, for logs, headers and
// attributes.
package line

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Of returns s without control characters and line breaks, as valid UTF-8, trimmed,
// and of at most so many bytes.
func Of(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > most {
		cut := most
		for !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	return strings.TrimSpace(s)
}
