package events

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// Limits of the attributes.
const (
	MaxID     = 512
	maxSource = 1024
)

// Parse reads the envelope of an input: structured JSON (by content type, or
// by a specversion member), binary mode (ce-… headers), or bare JSON data.
//
// A bare event has the id Nats-Msg-Id, or one derived from stream and sequence
// when there is none, and the time at which it was stored.
//
// A byte order mark before the body is skipped.
//
// Errors are a *FieldError in a fault.Permanent of class Oversize (above
// MaxInputBytes) or Malformed. The data is known to be a valid JSON object
// afterwards; the Decode functions look at its members.
func (c Codec) Parse(m Message) (Envelope, error) {
	typ, ok := c.TypeOf(m.Subject)
	if !ok {
		return Envelope{}, refuse(fault.Malformed, "a message", problem("subject", "is none of the contract's"))
	}
	if limit := c.maxInputBytes(); len(m.Data) > limit {
		return Envelope{}, refuse(fault.Oversize, typ, problem("data", "%d bytes, at most %d", len(m.Data), limit))
	}
	m.Data = withoutMark(m.Data)
	e, fe := parse(m, typ)
	if fe == nil {
		fe = addTrace(&e, m)
	}
	if fe != nil {
		return Envelope{}, refuse(fault.Malformed, typ, fe)
	}
	if typ == TypeCallbackReceived {
		hideCode(&e)
	}
	return e, nil
}

// withoutMark returns data without the UTF-8 byte order mark that some producers
// write before it.
func withoutMark(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\ufeff")) }

func parse(m Message, typ string) (Envelope, *FieldError) {
	media := m.mediaType()
	switch {
	case media == ContentTypeStructured:
		obj, fe := parseObject(m.Data, "data")
		if fe != nil {
			return Envelope{}, fe
		}
		return parseStructured(m, typ, obj)
	case strings.HasPrefix(media, "application/cloudevents"):
		return Envelope{}, problem(HeaderContentType, "must be %s", ContentTypeStructured)
	case isBinary(m):
		return parseBinary(m, typ)
	}
	obj, fe := parseObject(m.Data, "data")
	if fe != nil {
		return Envelope{}, fe
	}
	if _, ok := obj.get("specversion"); ok {
		return parseStructured(m, typ, obj)
	}
	return parseBare(m, typ)
}

// parseStructured reads the event format of CloudEvents JSON, section 3.
func parseStructured(m Message, typ string, obj object) (Envelope, *FieldError) {
	f := &fields{obj: obj}
	e, fe := attributes(m, typ, "", func(name string, limit int) string { return f.text(name, limit) })
	if f.err != nil {
		return Envelope{}, f.err
	}
	if fe != nil {
		return Envelope{}, fe
	}
	data, ok := f.value("data")
	encoded, isBase64 := f.value("data_base64")
	switch {
	case ok && isBase64:
		return Envelope{}, problem("data_base64", "given together with data")
	case isBase64:
		e.Data, fe = decodeBase64(encoded)
		if fe == nil {
			_, fe = parseObject(e.Data, "data_base64")
		}
	case !ok:
		fe = problem("data", "missing")
	case data.Kind() != jsontext.KindBeginObject:
		fe = problem("data", "must be an object, is %s", kindName(data.Kind()))
	default:
		e.Data = data
	}
	return e, fe
}

func decodeBase64(v jsontext.Value) ([]byte, *FieldError) {
	if v.Kind() != jsontext.KindString {
		return nil, problem("data_base64", "must be a string, is %s", kindName(v.Kind()))
	}
	b, err := base64.StdEncoding.DecodeString(unquote(v))
	if err != nil {
		return nil, problem("data_base64", "is not base64")
	}
	return b, nil
}

// isBinary reports whether the message carries an event in its headers. Any
// one of the required attributes will do, so that a forgotten one is named.
func isBinary(m Message) bool {
	for _, name := range [...]string{"ce-specversion", "ce-id", "ce-source", "ce-type"} {
		if _, ok := m.header(name); ok {
			return true
		}
	}
	return false
}

func parseBinary(m Message, typ string) (Envelope, *FieldError) {
	if media := m.mediaType(); media != "" && !isJSONMedia(media) {
		return Envelope{}, problem(HeaderContentType, "must be %s", ContentTypeJSON)
	}
	var bad *FieldError
	e, fe := attributes(m, typ, "ce-", func(name string, limit int) string {
		value, _ := m.header("ce-" + name)
		if wrong := checkText("ce-"+name, value, limit); wrong != nil && bad == nil {
			bad = wrong
		}
		return value
	})
	if bad != nil {
		return Envelope{}, bad
	}
	if fe != nil {
		return Envelope{}, fe
	}
	_, fe = parseObject(m.Data, "data")
	e.Data = m.Data
	return e, fe
}

// parseBare makes the envelope of data that has none.
func parseBare(m Message, typ string) (Envelope, *FieldError) {
	id, _ := m.header(HeaderMsgID)
	if fe := checkText(HeaderMsgID, id, MaxID); fe != nil {
		return Envelope{}, fe
	}
	if id == "" {
		if m.Stream == "" || m.Sequence == 0 {
			return Envelope{}, problem("id", "missing, and the message is in no stream to derive one from")
		}
		id = UUIDv5("message", m.Stream, strconv.FormatUint(m.Sequence, 10))
	}
	return Envelope{ID: id, Source: "/nats/" + m.Stream, Type: typ, Time: m.Time.UTC(), Data: m.Data}, nil
}

// attributes reads the context attributes through get, which returns "" for
// absent ones. prefix names them in errors as they are spelled on the wire.
func attributes(m Message, typ, prefix string, get func(name string, limit int) string) (Envelope, *FieldError) {
	e := Envelope{Type: typ, Time: m.Time.UTC()}
	switch version := get("specversion", MaxID); version {
	case SpecVersion:
	case "":
		return e, problem(prefix+"specversion", "missing")
	default:
		return e, problem(prefix+"specversion", "must be %q", SpecVersion)
	}
	e.ID, e.Source, e.Subject = get("id", MaxID), get("source", maxSource), get("subject", maxSource)
	given := get("type", maxSource)
	for _, required := range [...]struct{ name, value string }{{"id", e.ID}, {"source", e.Source}, {"type", given}} {
		if required.value == "" {
			return e, problem(prefix+required.name, "missing")
		}
	}
	if given != typ && !strings.HasSuffix(given, "."+typ) {
		return e, problem(prefix+"type", "must be %s on this subject", typ)
	}
	if media := get("datacontenttype", maxSource); media != "" && !isJSONMedia(media) {
		return e, problem(prefix+"datacontenttype", "must be %s", ContentTypeJSON)
	}
	if id := get("dataschema", maxSource); strings.HasPrefix(id, schemaPrefix+typ+":") && SchemaByID(id) == nil {
		return e, problem(prefix+"dataschema", "is a version of %s that this program does not know; redrive the event after the upgrade", typ)
	}
	if raw := get("time", 64); raw != "" {
		t, ok := parseTime(raw)
		if !ok {
			return e, problem(prefix+"time", "must be an RFC 3339 time")
		}
		e.Time = t
	}
	e.CausationID, e.ReplayID = get("causationid", MaxID), get("replayid", MaxID)
	e.TraceParent, e.TraceState = get(HeaderTraceParent, maxSource), get(HeaderTraceState, maxSource)
	return e, nil
}

func isJSONMedia(media string) bool {
	media, _, _ = strings.Cut(media, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == ContentTypeJSON || media == "text/json" || strings.HasSuffix(media, "+json")
}
