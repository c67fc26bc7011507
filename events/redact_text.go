package events

import (
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	minCodePart = 6 // bytes; shorter codes are not looked for inside strings
	maxEncoded  = 3 // how often a URL may be percent-encoded into another
)

// learn remembers a code in all the spellings in which it may turn up.
func (r *redactor) learn(code string) {
	for _, form := range decodings(code) {
		if form != "" {
			r.codes[form] = true
		}
	}
}

// learnFromText looks for code parameters and for things like "code": "…".
func (r *redactor) learnFromText(s string) {
	for _, form := range decodings(s) {
		for _, p := range parameters(form) {
			if p.isCode() {
				r.learn(p.value)
			}
		}
		if !mentionsCode(form) {
			continue
		}
		for _, match := range assignedCode.FindAllStringSubmatch(form, -1) {
			r.learn(match[1])
		}
	}
}

// learnFromJSON looks through a readable JSON value.
func (r *redactor) learnFromJSON(v jsontext.Value) {
	switch v.Kind() {
	case jsontext.KindBeginObject:
		obj, _ := parseObject(v, "data") // cannot fail: the whole is readable
		for _, m := range obj {
			r.learnFromMember(m)
		}
	case jsontext.KindBeginArray:
		for _, e := range elements(v) {
			r.learnFromJSON(e)
		}
	case jsontext.KindString:
		r.learnFromText(unquote(v))
	}
}

func (r *redactor) learnFromMember(m member) {
	switch kind := m.value.Kind(); {
	case isCodeName(m.name) && kind == jsontext.KindString:
		r.learn(unquote(m.value))
	case isCodeName(m.name) && kind == jsontext.KindNumber:
		r.learn(string(m.value))
	case m.name == "data_base64" && kind == jsontext.KindString:
		if inner, fe := decodeBase64(m.value); fe == nil && readable(inner) {
			r.learnFromJSON(inner)
		}
	}
	r.learnFromJSON(m.value)
}

// holdsCode reports whether s is or contains a known code.
func (r *redactor) holdsCode(s string) bool {
	if len(r.codes) == 0 || s == "" {
		return false
	}
	for _, form := range decodings(s) {
		if r.codes[form] {
			return true
		}
		for code := range r.codes {
			if len(code) >= minCodePart && strings.Contains(form, code) {
				return true
			}
		}
	}
	return false
}

// looksLikeCode reports whether s still assigns something to a code.
func looksLikeCode(s string) bool {
	return slices.ContainsFunc(decodings(s), func(form string) bool {
		return mentionsCode(form) && assignedCode.MatchString(form)
	})
}

// mentionsCode reports whether the word assignedCode looks for is in s, in any
// case. Asking first saves most of the time that a large body takes.
func mentionsCode(s string) bool {
	const word = "code"
	for i := 0; i+len(word) <= len(s); i++ {
		if s[i]|0x20 == word[0] && strings.EqualFold(s[i:i+len(word)], word) {
			return true
		}
	}
	return false
}

// assignedCode matches code=x, "code": "x", \"code\":\"x\" and the like.
var assignedCode = regexp.MustCompile(`(?i)code[\\"'\s]*[=:][\\"'\s]*([^\\"'&\s]+)`)

// isCodeName reports whether a member, parameter or header of that name is a
// code: code, Code, auth_code, ce-code, amp;code, c%6fde.
func isCodeName(name string) bool {
	for _, form := range decodings(name) {
		if strings.HasSuffix(strings.ToLower(strings.TrimSpace(form)), "code") {
			return true
		}
	}
	return false
}

// parameter is one name=value of a query, as spelled there.
type parameter struct {
	name, value string
	start, end  int // in the string, without separators
}

func (p parameter) isCode() bool { return isCodeName(p.name) }

// parameters splits what may be a URL or a query the way callbackQuery does:
// the first question mark opens the query, a later one belongs to a value.
func parameters(s string) []parameter {
	start := strings.IndexByte(s, '?') + 1
	var list []parameter
	for start <= len(s) {
		end := len(s)
		if i := strings.IndexAny(s[start:], "&#"); i >= 0 {
			end = start + i
		}
		if name, value, ok := strings.Cut(s[start:end], "="); ok {
			list = append(list, parameter{name, value, start, end})
		}
		start = end + 1
	}
	return list
}

// cutCodeParameters returns s without its code parameters and the separator
// behind each, leaving every other byte in place.
func cutCodeParameters(s string) string {
	var out strings.Builder
	from := 0
	for _, p := range parameters(s) {
		if !p.isCode() {
			continue
		}
		out.WriteString(s[from:p.start])
		from = p.end
		if from < len(s) && s[from] == '&' {
			from++
		}
	}
	if from == 0 {
		return s
	}
	out.WriteString(s[from:])
	return strings.TrimRight(out.String(), "?&")
}

// decodings returns s and what percent-decoding makes of it, again and again
// up to maxEncoded times; sequences that are none stay as they are.
func decodings(s string) []string {
	forms := []string{s}
	for range maxEncoded {
		next := percentDecode(s)
		if next == s {
			break
		}
		forms = append(forms, next)
		s = next
	}
	return forms
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
			if b, ok := hexPair(s[i+1:]); ok {
				c, i = b, i+2
			}
		}
		out = append(out, c)
	}
	return string(out)
}

// hexPair reads the byte whose two hexadecimal digits s begins with.
func hexPair(s string) (b byte, ok bool) {
	if len(s) < 2 {
		return 0, false
	}
	var out [1]byte
	_, err := hex.Decode(out[:], []byte(s[:2]))
	return out[0], err == nil
}
