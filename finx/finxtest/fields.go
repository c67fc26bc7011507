package finxtest

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// languages are the values that finX documents for the widget; the sandbox's
// page speaks the first three.
var languages = [...]string{"de", "en", "es", "fr", "ar"}

const missing = "Missing data for required field."

var uuidPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// fields reads a JSON body field by field and collects what is wrong with each.
// Lenient reading takes "true" for true and "90" for 90, as the vendor's own
// Postman bodies send them.
type fields struct {
	raw    map[string]json.RawMessage
	strict bool
	bad    fieldProblems
}

// readFields reads the body of r as a JSON object.
func readFields(r *http.Request, strict bool) fields {
	f := fields{raw: map[string]json.RawMessage{}, strict: strict, bad: fieldProblems{}}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || (media != "application/json" && !strings.HasSuffix(media, "+json")) {
		f.bad.add("_schema", "Content-Type must be application/json.")
		return f
	}
	if err := json.NewDecoder(r.Body).Decode(&f.raw); err != nil {
		f.bad.add("_schema", "Invalid input type.")
	}
	return f
}

// take removes a field; ok is false when it is absent or null.
func (f fields) take(name string) (json.RawMessage, bool) {
	v, ok := f.raw[name]
	delete(f.raw, name)
	return v, ok && !bytes.Equal(v, []byte("null"))
}

// text reads a string; most limits its characters, 0 means no limit.
func (f fields) text(name string, required bool, most int) string {
	v, ok := f.take(name)
	if !ok {
		if required {
			f.bad.add(name, missing)
		}
		return ""
	}
	var s string
	switch {
	case json.Unmarshal(v, &s) != nil:
		f.bad.add(name, "Not a valid string.")
	case required && s == "":
		f.bad.add(name, missing)
	case most > 0 && utf8.RuneCountInString(s) > most:
		f.bad.add(name, "Longer than maximum length "+strconv.Itoa(most)+".")
	}
	return s
}

// url reads an absolute URL without a fragment (RFC 6749 §3.1.2).
func (f fields) url(name string) string {
	s := f.text(name, true, 0)
	if s == "" {
		return s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || (u.Host == "" && (u.Scheme == "http" || u.Scheme == "https")) ||
		u.Fragment != "" || slices.Contains([]string{"javascript", "data", "vbscript"}, u.Scheme) {
		f.bad.add(name, "Not a valid URL.")
	}
	return s
}

// literal removes a field that is no string and returns its JSON; the lenient
// sandbox takes it out of quotes.
func (f fields) literal(name string) (string, bool) {
	v, ok := f.take(name)
	if f.strict {
		return string(v), ok
	}
	return strings.Trim(string(v), `"`), ok
}

// boolean reads a bool.
func (f fields) boolean(name string, def bool) bool {
	text, ok := f.literal(name)
	if !ok {
		return def
	}
	switch text {
	case "true":
		return true
	case "false":
		return false
	}
	f.bad.add(name, "Not a valid boolean.")
	return def
}

// positive reads a whole number above zero.
func (f fields) positive(name string, def int) int {
	text, ok := f.literal(name)
	if !ok {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		f.bad.add(name, "Not a valid integer.")
		return def
	}
	return n
}

// texts reads an array of strings; the member of that name is taken from
// objects when it is not empty and reading is lenient.
func (f fields) texts(name, member string) []string {
	v, ok := f.take(name)
	if !ok {
		return nil
	}
	var items []json.RawMessage
	if json.Unmarshal(v, &items) != nil {
		f.bad.add(name, "Not a valid list.")
		return nil
	}
	var out []string
	for _, item := range items {
		var s string
		var o map[string]json.RawMessage
		switch {
		case json.Unmarshal(item, &s) == nil:
			out = append(out, s)
		case !f.strict && member != "" && json.Unmarshal(item, &o) == nil && json.Unmarshal(o[member], &s) == nil:
			out = append(out, s)
		default:
			f.bad.add(name, "Not a valid string.")
			return nil
		}
	}
	return out
}

// finish reports what is left over, when reading is strict.
func (f fields) finish() {
	if !f.strict {
		return
	}
	for name := range f.raw {
		f.bad.add(name, "Unknown field.")
	}
}
