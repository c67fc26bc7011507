package events

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// writer appends the members of one JSON object in the order of the calls.
// encoding/json is no help here: it compacts and HTML-escapes raw values, and
// finX's objects must leave as they came.
type writer struct{ b []byte }

func openObject(dst []byte) writer { return writer{append(dst, '{')} }

func (w *writer) close() []byte { return append(w.b, '}') }

// name appends a member name, which must need no escaping.
func (w *writer) name(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(append(append(w.b, '"'), name...), '"', ':')
}

func (w *writer) text(name, value string) {
	w.name(name)
	w.b = appendString(w.b, value)
}

// optional is text, left out when value is empty.
func (w *writer) optional(name, value string) {
	if value != "" {
		w.text(name, value)
	}
}

func (w *writer) number(name string, n int) {
	w.name(name)
	w.b = strconv.AppendInt(w.b, int64(n), 10)
}

func (w *writer) boolean(name string, v bool) {
	w.name(name)
	w.b = strconv.AppendBool(w.b, v)
}

// raw appends a value that is JSON already, byte for byte; none is null.
func (w *writer) raw(name string, value []byte) {
	w.name(name)
	if len(value) == 0 {
		value = []byte("null")
	}
	w.b = append(w.b, value...)
}

// time appends a time, left out when it is zero.
func (w *writer) time(name string, t time.Time) {
	if !t.IsZero() {
		w.text(name, formatTime(t))
	}
}

// appendString appends a JSON string. Invalid UTF-8 becomes U+FFFD, as JSON
// cannot carry it; nothing read by this package has any.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}
