package events

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const minCodePart = 6 // bytes; shorter codes are not looked for inside strings

// learn remembers a code in all the spellings in which it may turn up.
func (r *redactor) learn(code string) {
	for _, form := range spellings(code) {
		if form != "" {
			r.codes[form] = true
		}
	}
}

// learnAll remembers every string and number at or below v, which is named a
// code: nobody knows which of them it is.
func (r *redactor) learnAll(v jsontext.Value) {
	switch v.Kind() {
	case jsontext.KindString:
		r.learn(unquote(v))
	case jsontext.KindNumber:
		r.learn(string(v))
	case jsontext.KindBeginArray:
		for _, e := range elements(v) {
			r.learnAll(e)
		}
	case jsontext.KindBeginObject:
		obj, _ := parseObject(v, "data") // cannot fail: the whole is readable
		for _, m := range obj {
			if !isKept(m.name) {
				r.learnAll(m.value)
			}
		}
	}
}

// isKept reports whether a member names the connection or the flow. It is no code
// itself, and is needed to find them: only a code in it makes it go.
func isKept(name string) bool {
	return name == "state" || name == "flow_id" || name == "provider_id"
}

// keptParameter matches those members in a query.
var keptParameter = regexp.MustCompile(`(^|[?&#])(?:state|flow_id|provider_id)=[^&#]*`)

// learnFromText looks for code parameters, for things like "code": "…", and for
// whole JSON values.
func (r *redactor) learnFromText(s string) {
	for _, form := range readings(s) {
		if !mentionsCode(form) {
			continue
		}
		for _, p := range parameters(form) {
			if p.isCode() {
				r.learn(p.value)
			}
		}
		for _, match := range codeParameter.FindAllStringSubmatch(form, -1) {
			r.learn(match[1])
		}
		for _, match := range assignedCode.FindAllStringSubmatch(form, -1) {
			r.learn(match[1])
		}
		if isContainer(form) {
			r.inside(func() { r.learnFromJSON(jsontext.Value(form)) })
		}
	}
}

// inside looks at a JSON value that is the text of another. How deep is bounded,
// because each level can be read in several ways.
func (r *redactor) inside(look func()) {
	if r.depth == maxEncoded {
		r.unclear = true
		return
	}
	r.depth++
	look()
	r.depth--
}

// isContainer reports whether s is a JSON object or array that can be taken apart.
func isContainer(s string) bool {
	v := jsontext.Value(s)
	kind := v.Kind()
	return (kind == jsontext.KindBeginObject || kind == jsontext.KindBeginArray) && readable(v)
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
	if isCodeName(m.name) {
		r.learnAll(m.value)
	}
	r.learnFromJSON(m.value)
}

// holdsCode reports whether s is or contains a known code.
func (r *redactor) holdsCode(s string) bool {
	if len(r.codes) == 0 || s == "" {
		return false
	}
	return r.holdAny(readings(s))
}

func (r *redactor) holdAny(forms []string) bool {
	for _, form := range forms {
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
	return slices.ContainsFunc(readings(s), func(form string) bool {
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

// understood reports whether all that forms, the readings of one text, say of a
// code was learnt from: there is a reading in which it is a JSON value (whose
// inside is looked at, too) or a list of parameters.
func (r *redactor) understood(forms []string) bool {
	silent := true
	for _, form := range forms {
		if !mentionsCode(form) {
			continue
		}
		if isContainer(form) {
			r.inside(func() { r.value(nil, jsontext.Value(form)) })
			return true
		}
		if !mentionsCode(codeParameter.ReplaceAllString(r.mask(form), "")) {
			return true
		}
		silent = false
	}
	return silent
}

// mask returns s without the codes themselves, which may have the word in them.
func (r *redactor) mask(s string) string {
	codes := slices.Collect(maps.Keys(r.codes))
	slices.SortFunc(codes, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	for _, code := range codes {
		if len(code) >= minCodePart || code == s {
			s = strings.ReplaceAll(s, code, "\x00")
		}
	}
	return s
}

// assignedCode matches code=x, "code": "x", \"code\":[\"x\"] and the like.
var assignedCode = regexp.MustCompile(`(?i)code[\w.\[\]-]*[\\"'\s]*[=:][\\"'\s\[{]*([^\\"'&\s]+)`)

// codeParameter matches a code in a query, wherever the query begins.
var codeParameter = regexp.MustCompile(`(?i)[\w.\[\]%;-]*code[\w.\[\]%-]*=([^&#]*)`)

// isCodeName reports whether a member, parameter or header of that name is a
// code: code, auth_code, ce-code, authorizationCodeValue, code[], c%6fde.
func isCodeName(name string) bool {
	return slices.ContainsFunc(spellings(name), mentionsCode)
}

// parameter is one name=value of a query, as spelled there.
type parameter struct {
	name, value string
	start, end  int // in the string, without separators
}

// isCode tells a code from text that happens to have the word and, later on, an
// equals sign.
func (p parameter) isCode() bool { return parameterName.MatchString(p.name) && isCodeName(p.name) }

var parameterName = regexp.MustCompile(`^[\w.\[\]%;-]+$`)

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
