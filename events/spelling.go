package events

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxEncoded  = 3  // how often a text may be encoded into another
	maxReadings = 64 // of one text; nobody's honest text has as many
)

// spellings returns s and what percent-decoding, JSON unescaping and HTML
// unescaping make of it, one after the other, up to maxEncoded times.
// Sequences that are none stay as they are.
func spellings(s string) []string { return decodeAll(s, unescapes) }

// readings returns the spellings of s, and those of what is base64 in it.
func readings(s string) []string {
	return decodeAll(s, func(s string) []string { return append(unescapes(s), fromBase64(s)...) })
}

func decodeAll(s string, decode func(string) []string) []string {
	forms := []string{s}
	for from, depth := 0, 0; depth < maxEncoded && from < len(forms); depth++ {
		to := len(forms)
		for ; from < to; from++ {
			if !utf8.ValidString(forms[from]) && from > 0 {
				continue // decoded what was not encoded
			}
			for _, next := range decode(forms[from]) {
				if next != "" && !slices.Contains(forms, next) {
					forms = append(forms, next)
				}
			}
			if len(forms) > maxReadings {
				return append(forms, "code") // not looked through to the end: it may hold one
			}
		}
	}
	return forms
}

func unescapes(s string) []string {
	if !strings.ContainsAny(s, `%+\&`) {
		return nil // nothing is escaped: each would be s once more
	}
	return []string{percentDecode(s), jsonUnescape(s), html.UnescapeString(s)}
}

// minBase64 is the length from which a run of its alphabet may be base64, or base64
// behind something else. Shorter runs cannot hold a code that would be looked for.
const minBase64 = 8

// fromBase64 decodes the runs of s. Where in a run the encoding begins is not
// known, so there is one result for each alignment. Nearly every string of a message
// has a run, an id or a URL: this is on the way of every callback.
func fromBase64(s string) []string {
	var out [4][]byte
	for from := 0; from < len(s); {
		if !isBase64(s[from]) {
			from++
			continue
		}
		to := from + 1
		for to < len(s) && isBase64(s[to]) {
			to++
		}
		if to-from >= minBase64 {
			run := standardBase64(s[from:to])
			for offset := range out {
				out[offset] = appendBase64(out[offset], run[offset:])
			}
		}
		from = to
	}
	if out[0] == nil {
		return nil
	}
	forms := make([]string, len(out))
	for offset := range out {
		forms[offset] = string(out[offset])
	}
	return forms
}

func isBase64(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_'
}

// standardBase64 returns run in the standard alphabet, URLs having another one.
func standardBase64(run string) []byte {
	b := []byte(run)
	for i, c := range b {
		switch c {
		case '-':
			b[i] = '+'
		case '_':
			b[i] = '/'
		}
	}
	return b
}

// appendBase64 appends what run encodes, on a line of its own.
func appendBase64(dst, run []byte) []byte {
	if len(run)%4 == 1 {
		run = run[:len(run)-1]
	}
	if len(dst) > 0 {
		dst = append(dst, '\n')
	}
	// It cannot fail: the alphabet and the length are right.
	dst, _ = base64.RawStdEncoding.AppendDecode(dst, run)
	return dst
}

func percentDecode(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if b, ok := hexDigits(s[i+1:], 2); ok {
				c, i = byte(b&0xff), i+2
			}
		}
		out = append(out, c)
	}
	return string(out)
}

// jsonUnescape undoes the escapes of a JSON string in any text.
func jsonUnescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			continue
		}
		i++
		if r, ok := hexDigits(s[i+1:], 4); s[i] == 'u' && ok {
			i += 4
			if rest, found := strings.CutPrefix(s[i+1:], `\u`); found && utf16.IsSurrogate(r) {
				if low, ok := hexDigits(rest, 4); ok {
					r, i = utf16.DecodeRune(r, low), i+6
				}
			}
			out = utf8.AppendRune(out, r)
			continue
		}
		if at := strings.IndexByte("bfnrt", s[i]); at >= 0 {
			out = append(out, "\b\f\n\r\t"[at])
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

// hexDigits reads the number whose n hexadecimal digits s begins with.
func hexDigits(s string, n int) (rune, bool) {
	if len(s) < n {
		return 0, false
	}
	b, err := hex.DecodeString(s[:n])
	var r rune
	for _, c := range b {
		r = r<<8 | rune(c)
	}
	return r, err == nil
}
