package events

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const redactedText = "[redacted]"

// maxCodes bounds the work: every string is searched for every code. A callback
// has one, in a handful of spellings; a body with more is not one.
const maxCodes = 64

// RedactCallback returns m without its authorization code: what may be kept of
// a callback in a dead letter. In body and headers
//   - everything with "code" in its name goes (any depth, any case), and every
//     string and number in it is taken for a code;
//   - a code parameter is cut out of any URL or query, also a percent-encoded one;
//   - any other string that contains a code or the word, also percent-encoded,
//     escaped or in base64, becomes "[redacted]".
//
// The rest stays as it is, except for blanks between members when something
// was removed. A body that cannot be read, or says "code" in a form that is not
// understood, may hold one anywhere, so a note {"withheld":…,"bytes":n} takes
// its place. m itself is not changed.
//
// Codes of fewer than six bytes are looked for as whole values only: as parts
// of other strings they would be everywhere, and they protect nothing.
//
// texts are what was said about m, such as errors. They come back in their
// order without the code, and what they say changes nothing in m. To find the
// codes m is read from end to end, so everything about it goes into one call.
func RedactCallback(m Message, texts ...string) (Message, []string) {
	r := newRedactor(m)
	clean := make([]string, len(texts))
	for i, text := range texts {
		clean[i] = r.foreign(text)
	}
	m.Data = r.body(m.Data) // first: what headers say does not make a body unclear
	m.Header = r.header(m.Header)
	m.Subject = r.subject(m.Subject)
	return m, clean
}

// foreign returns a text from outside the message without the codes of the
// message and without those it gives itself.
func (r *redactor) foreign(s string) string {
	own := &redactor{codes: maps.Clone(r.codes)}
	own.learnFromText(s)
	clean := cutCodeParameters(s)
	if own.holdsCode(clean) || looksLikeCode(clean) {
		return redactedText
	}
	return clean
}

// redactor knows the codes of one message.
type redactor struct {
	codes   map[string]bool
	changed bool // since it was last reset: something was removed
	unclear bool // since it was last reset: a code was spoken of in a form that is not understood
	depth   int  // of JSON values in the text of others
}

func newRedactor(m Message) *redactor {
	r := &redactor{codes: map[string]bool{}}
	for name, values := range m.Header {
		for _, v := range values {
			if isCodeName(name) {
				r.learn(v)
			}
			r.learnFromText(v)
		}
	}
	r.unclear = false
	if data := withoutMark(m.Data); readable(data) {
		r.learnFromJSON(data)
	} else {
		r.learnFromText(string(data))
	}
	return r
}

// readable reports whether a body can be taken apart member by member.
func readable(data []byte) bool {
	return !deeperThan(data, maxDepth) && jsontext.Value(data).IsValid()
}

func (r *redactor) header(h map[string][]string) map[string][]string {
	if h == nil {
		return nil
	}
	out := make(map[string][]string, len(h))
	for name, values := range h {
		if isCodeName(name) || r.holdsCode(name) {
			continue
		}
		r.unclear = false
		clean := make([]string, len(values))
		for i, v := range values {
			clean[i] = r.text(v)
		}
		if r.unclear { // the word in one value, the code in the next
			clean = slices.Repeat([]string{redactedText}, len(values))
		}
		out[name] = clean
	}
	return out
}

// subject replaces tokens that hold the code, keeping the number of tokens.
func (r *redactor) subject(s string) string {
	if !r.holdsCode(s) {
		return s
	}
	tokens := strings.Split(s, ".")
	for i, token := range tokens {
		if r.holdsCode(token) {
			tokens[i] = "redacted"
		}
	}
	if s = strings.Join(tokens, "."); r.holdsCode(s) { // the code itself has dots
		return TypeCallbackReceived + ".redacted"
	}
	return s
}

func (r *redactor) body(data []byte) []byte {
	if len(data) == 0 {
		return data
	}
	plain := withoutMark(data)
	if !readable(plain) || len(r.codes) > maxCodes {
		return withholding(data)
	}
	r.changed = false
	out := r.value(make([]byte, 0, len(plain)), plain)
	switch {
	case r.unclear:
		return withholding(data)
	case !r.changed:
		return data
	}
	return out
}

// withholding is the note that stands in for a body. It must not itself say
// what makes a body be withheld.
func withholding(data []byte) []byte {
	w := openObject(nil)
	w.text("withheld", "the body cannot be read as a callback and may hold a secret")
	w.number("bytes", len(data))
	return w.close()
}

// value appends v without its codes.
func (r *redactor) value(dst []byte, v jsontext.Value) []byte {
	switch v.Kind() {
	case jsontext.KindBeginObject:
		return r.object(dst, v)
	case jsontext.KindBeginArray:
		dst = append(dst, '[')
		for i, e := range elements(v) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = r.value(dst, e)
		}
		return append(dst, ']')
	case jsontext.KindString:
		s := unquote(v)
		if clean := r.text(s); clean != s {
			return appendString(dst, clean)
		}
	case jsontext.KindNumber:
		if r.codes[string(v)] {
			r.changed = true
			return appendString(dst, redactedText)
		}
	}
	return append(dst, v...)
}

func (r *redactor) object(dst []byte, v jsontext.Value) []byte {
	obj, _ := parseObject(v, "data") // cannot fail: the whole was readable
	w := openObject(dst)
	start := len(w.b)
	for _, m := range obj {
		if isCodeName(m.name) || r.holdsCode(m.name) {
			r.changed = true
			continue
		}
		if len(w.b) > start {
			w.b = append(w.b, ',')
		}
		w.b = append(appendString(w.b, m.name), ':')
		if m.name == "data_base64" {
			w.b = r.base64(w.b, m.value)
			continue
		}
		if isKept(m.name) && m.value.Kind() == jsontext.KindString && !r.holdsCode(unquote(m.value)) {
			w.b = append(w.b, m.value...)
			continue
		}
		w.b = r.value(w.b, m.value)
	}
	return w.close()
}

// base64 appends a data_base64 member's value with its content redacted.
func (r *redactor) base64(dst []byte, v jsontext.Value) []byte {
	inner, fe := decodeBase64(v)
	if fe != nil || !readable(inner) {
		if v.Kind() == jsontext.KindString {
			r.text(unquote(v)) // tells whether it is clear
		}
		r.changed = true
		return appendString(dst, redactedText)
	}
	before := r.changed
	r.changed = false
	clean := r.value(nil, inner)
	if !r.changed {
		r.changed = before
		return append(dst, v...)
	}
	return appendString(dst, base64.StdEncoding.EncodeToString(clean))
}

// text returns s without its codes.
func (r *redactor) text(s string) string {
	clean := cutCodeParameters(s)
	forms := readings(keptParameter.ReplaceAllString(clean, "$1"))
	mentioned := slices.ContainsFunc(forms, mentionsCode)
	if mentioned && !r.understood(forms) {
		r.unclear = true
	}
	if mentioned || r.holdsCode(clean) {
		clean = redactedText
	}
	if clean != s {
		r.changed = true
	}
	return clean
}

// hideCode keeps a code out of the attributes of a callback, which travel on
// as causation id, into logs and headers. Some producers use the code itself as
// the message id; the event keeps an id that is as stable.
func hideCode(e *Envelope) {
	r := &redactor{codes: map[string]bool{}}
	r.learnFromJSON(e.Data)
	if r.holdsCode(e.ID) {
		e.ID = UUIDv5("hidden id", e.ID)
	}
	for _, attribute := range [...]*string{&e.Source, &e.Subject, &e.CausationID, &e.ReplayID, &e.TraceState} {
		if r.holdsCode(*attribute) {
			*attribute = ""
		}
	}
}
