package events

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds the nesting of an input. The deepest known field sits at 3;
// the rest is room for unknown members that are skipped.
const maxDepth = 64

// member is one member of a JSON object; value aliases the input.
type member struct {
	name  string
	value jsontext.Value
}

// object is a JSON object in the order of the input, without duplicate names.
type object []member

func (o object) get(name string) (jsontext.Value, bool) {
	for _, m := range o {
		if m.name == name {
			return m.value, true
		}
	}
	return nil, false
}

// parseObject reads data as exactly one JSON object (RFC 7493: unique names,
// valid UTF-8, nothing behind it). root names data as a whole in errors.
// Nested values are validated too, so whoever reads them later may trust them.
func parseObject(data []byte, root string) (object, *FieldError) {
	if deeperThan(data, maxDepth) {
		return nil, problem(root, "nested deeper than %d", maxDepth)
	}
	return readObject(data, root)
}

// parseOwn is parseObject for an event of our own, which holds finX's objects
// as they came: what finX may nest, repeat or misspell is not ours to refuse.
func parseOwn(data []byte, root string) (object, *FieldError) {
	return readObject(data, root, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

func readObject(data []byte, root string, opts ...jsontext.Options) (object, *FieldError) {
	d := jsontext.NewDecoder(bytes.NewBuffer(data), opts...)
	switch kind := d.PeekKind(); kind {
	case jsontext.KindBeginObject:
	case jsontext.KindInvalid:
		_, err := d.ReadToken()
		return nil, syntaxProblem(data, root, err)
	default:
		if _, err := d.ReadValue(); err != nil {
			return nil, syntaxProblem(data, root, err)
		}
		return nil, problem(root, "must be an object, is %s", kindName(kind))
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, syntaxProblem(data, root, err)
	}
	obj, err := readMembers(d, data)
	if err != nil {
		return nil, syntaxProblem(data, root, err)
	}
	end := d.InputOffset()
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, problem(root, "more data after the object, at byte %d", end)
	}
	return obj, nil
}

// readMembers reads the members up to and including the closing brace.
func readMembers(d *jsontext.Decoder, data []byte) (object, error) {
	obj := make(object, 0, 12)
	for d.PeekKind() != jsontext.KindEndObject {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String() // before the next read invalidates the token
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		end := d.InputOffset()
		obj = append(obj, member{key, jsontext.Value(data[end-int64(len(value)) : end : end])})
	}
	_, err := d.ReadToken()
	return obj, err
}

// syntaxProblem turns a decoder's error into one that cannot quote the input:
// jsontext names the offending character and, in pointers, member names.
func syntaxProblem(data []byte, root string, err error) *FieldError {
	if errors.Is(err, io.EOF) && len(bytes.TrimSpace(data)) == 0 {
		return problem(root, "empty, must be a JSON object")
	}
	offset, field := int64(len(data)), root
	if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		offset, field = se.ByteOffset, fieldOf(root, se.JSONPointer)
	}
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return problem(field, "duplicate member name at byte %d", offset)
	}
	if offset < int64(len(data)) {
		if r, size := utf8.DecodeRune(data[offset:]); r == utf8.RuneError && size == 1 {
			return problem(field, "invalid UTF-8 at byte %d", offset)
		}
		return problem(field, "not JSON at byte %d", offset)
	}
	return problem(field, "not JSON: ends too early, at byte %d", offset)
}

// fieldOf names the place of a JSON pointer. Names of members nobody knows are
// shown as "?", because a body that is not what it claims to be may have
// anything there.
func fieldOf(root string, p jsontext.Pointer) string {
	var path []string
	for token := range p.Tokens() {
		if _, err := strconv.Atoi(token); err != nil && !knownName(token) {
			token = "?"
		}
		path = append(path, token)
	}
	if len(path) > 1 && path[0] == "data" {
		path = path[1:] // as the same field is named in bare and binary mode
	}
	if len(path) == 0 {
		return root
	}
	return strings.Join(path, "/")
}

// knownName reports whether the contract has a member of that name.
func knownName(s string) bool {
	switch s {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data", "data_base64",
		"causationid", "replayid", HeaderTraceParent, HeaderTraceState,
		"redirect_uri", "user_id", "state", "tracking_id", "language", "provider_id", "accounts", "account_types",
		"allow_multi_selection", "sync_period", "save_secrets",
		"success", "code", "cancel", "abort", "flow_id", "callback_url",
		"connection_id", "since", "until", "full", "reason", "trigger",
		"account", "transactions", "oversize", "window", "fetch_id", "part", "synced_at", "scope", "location", "detail", "what",
		"established_at", "expires_at", "days_left", "erased", "event_ids", "started_at", "finished_at", "retry_at":
		return true
	}
	return false
}

// deeperThan reports whether data nests deeper than limit. It looks at
// brackets outside strings only: enough for any input, valid or not.
func deeperThan(data []byte, limit int) bool {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// kindName names a JSON type for an error text.
func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindFalse, jsontext.KindTrue:
		return "a boolean"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindBeginObject:
		return "an object"
	case jsontext.KindBeginArray:
		return "an array"
	}
	return "not JSON"
}
