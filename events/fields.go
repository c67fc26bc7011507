package events

import (
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// fields reads the members of one object. The first problem sticks, and every
// later read returns the zero value, so a decoder is a list of fields.
// A null is an absent member, and so is the empty string: templates upstream
// render unset values as either.
type fields struct {
	obj  object
	path string // of obj, with a trailing slash, for errors in nested objects
	err  *FieldError
}

func (f *fields) failf(name, format string, args ...any) {
	if f.err == nil {
		f.err = problem(f.path+name, format, args...)
	}
}

// value returns the member name, ok only when it is there and not null.
func (f *fields) value(name string) (jsontext.Value, bool) {
	if f.err != nil {
		return nil, false
	}
	v, ok := f.obj.get(name)
	if !ok || v.Kind() == jsontext.KindNull {
		return nil, false
	}
	return v, true
}

// text returns a string of at most limit characters, "" when absent.
func (f *fields) text(name string, limit int) string {
	v, ok := f.value(name)
	if !ok {
		return ""
	}
	if v.Kind() != jsontext.KindString {
		f.failf(name, "must be a string, is %s", kindName(v.Kind()))
		return ""
	}
	s := unquote(v)
	if fe := checkText(f.path+name, s, limit); fe != nil {
		f.err = fe
		return ""
	}
	return s
}

// requiredText is text for a member that must be there and not empty.
func (f *fields) requiredText(name string, limit int) string {
	s := f.text(name, limit)
	if s == "" {
		f.failf(name, "missing")
	}
	return s
}

// boolean returns a bool, also one given as "true" or "false": finX's own
// collections do that. nil means absent.
func (f *fields) boolean(name string) *bool {
	v, ok := f.value(name)
	if !ok {
		return nil
	}
	var b bool
	switch v.Kind() {
	case jsontext.KindTrue, jsontext.KindFalse:
		b = v.Kind() == jsontext.KindTrue
	case jsontext.KindString:
		switch unquote(v) {
		case "":
			return nil
		case "true":
			b = true
		case "false":
		default:
			f.failf(name, `must be true or false`)
			return nil
		}
	default:
		f.failf(name, "must be a boolean, is %s", kindName(v.Kind()))
		return nil
	}
	return &b
}

// integer returns a whole number within lo and hi, also one given as a string
// of digits. nil means absent.
func (f *fields) integer(name string, lo, hi int) *int {
	v, ok := f.value(name)
	if !ok {
		return nil
	}
	var n int
	switch v.Kind() {
	case jsontext.KindNumber:
		n, ok = wholeNumber(string(v))
	case jsontext.KindString:
		s := unquote(v)
		if s == "" {
			return nil
		}
		var err error
		n, err = strconv.Atoi(s)
		ok = err == nil && strconv.Itoa(n) == s
	default:
		f.failf(name, "must be a number, is %s", kindName(v.Kind()))
		return nil
	}
	if !ok {
		f.failf(name, "must be a whole number")
		return nil
	}
	if n < lo || n > hi {
		f.failf(name, "must be %d to %d", lo, hi)
		return nil
	}
	return &n
}

// array returns the elements of an array of at most limit, nil when absent.
func (f *fields) array(name string, limit int) []jsontext.Value {
	v, ok := f.value(name)
	if !ok {
		return nil
	}
	if v.Kind() != jsontext.KindBeginArray {
		f.failf(name, "must be an array, is %s", kindName(v.Kind()))
		return nil
	}
	elems := elements(v)
	if len(elems) > limit {
		f.failf(name, "%d elements, at most %d", len(elems), limit)
		return nil
	}
	return elems
}

// checkText refuses what no identifier or text of the contract may be: too
// long (in characters, as JSON Schema counts), or with control characters,
// which end up in logs and headers.
func checkText(name, s string, limit int) *FieldError {
	if len(s) > limit {
		if n := utf8.RuneCountInString(s); n > limit {
			return problem(name, "%d characters, at most %d", n, limit)
		}
	}
	if hasControl(s) {
		return problem(name, "contains a control character")
	}
	return nil
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// wholeNumber reads a JSON number that has an integral value, in any of its
// spellings. The length bound keeps a hostile exponent from costing memory.
func wholeNumber(literal string) (int, bool) {
	if len(literal) > 24 {
		return 0, false
	}
	if i := strings.IndexAny(literal, "eE"); i >= 0 {
		if exp, err := strconv.Atoi(literal[i+1:]); err != nil || exp > 24 || exp < -24 {
			return 0, false
		}
	}
	r, ok := new(big.Rat).SetString(literal)
	if !ok || !r.IsInt() || !r.Num().IsInt64() {
		return 0, false
	}
	return int(r.Num().Int64()), true
}

// unquote decodes a JSON string that the decoder has accepted.
func unquote(v jsontext.Value) string {
	b, _ := jsontext.AppendUnquote(nil, []byte(v)) // cannot fail: v was validated
	return string(b)
}

// elements returns the elements of an array that a decoder has accepted, also
// the lenient one of parseOwn.
func elements(v jsontext.Value) []jsontext.Value {
	var out []jsontext.Value
	d := jsontext.NewDecoder(strings.NewReader(string(v)), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil {
		return nil
	}
	for d.PeekKind() != jsontext.KindEndArray {
		e, err := d.ReadValue()
		if err != nil {
			return out
		}
		out = append(out, e.Clone())
	}
	return out
}
