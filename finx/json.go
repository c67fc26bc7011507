package finx

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// errShape reports well-formed JSON that is not what the call answers with.
var errShape = errors.New("unexpected shape of the answer")

// lenient accepts what other JSON readers accept and RFC 7493 does not: a repeated
// member name, and half of a surrogate pair in a \u escape, which Python's encoder
// writes when a string holds one.
func lenient() []jsontext.Options {
	return []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
}

// newDecoder reads b in place, without its byte order mark.
func newDecoder(b []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(withoutMark(b)), lenient()...)
}

// withoutMark takes off a UTF-8 byte order mark, which RFC 8259 §8.1 lets a reader
// ignore. A proxy that rewrites bodies may put one there, and a token answer is
// not to be lost for it.
func withoutMark(b []byte) []byte { return bytes.TrimPrefix(b, []byte("\ufeff")) }

// members walks the object that comes next in d. visit must read exactly one
// value. What was visited before an error has been complete: a body that breaks
// off gives all the members it holds.
func members(d *jsontext.Decoder, visit func(name string) error) error {
	if d.PeekKind() != '{' {
		return kindError(d, "an object")
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := visit(name.String()); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// elements walks the array that comes next in d, or null, which stands for an
// empty one.
func elements(d *jsontext.Decoder, visit func(jsontext.Value) error) error {
	switch d.PeekKind() {
	case 'n':
		_, err := d.ReadToken()
		return err
	case '[':
	default:
		return kindError(d, "an array")
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != ']' {
		v, err := d.ReadValue()
		if err != nil {
			return err
		}
		if err := visit(v); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// list walks the array of an answer that is either the bare array or an object
// with the array as its member name; the documentation shows both for different
// resources. It is an error when anything but white space follows, or when the
// member is missing or comes twice.
func list(d *jsontext.Decoder, name string, visit func(jsontext.Value) error) error {
	var err error
	found := 0
	if d.PeekKind() == '[' {
		found, err = 1, elements(d, visit)
	} else {
		err = members(d, func(member string) error {
			if member != name {
				return d.SkipValue()
			}
			found++
			return elements(d, visit)
		})
	}
	if err != nil {
		return err
	}
	if found != 1 {
		return fmt.Errorf("%w: %d members %q, want one", errShape, found, name)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more follows after the end", errShape)
	}
	return nil
}

// kindError tells a wrong kind of value from a body that cannot be read at all.
func kindError(d *jsontext.Decoder, want string) error {
	switch k := d.PeekKind(); k {
	case jsontext.KindInvalid:
		if _, err := d.ReadToken(); err != nil {
			return err
		}
		return errShape
	default:
		return fmt.Errorf("%w: %s where %s belongs", errShape, k, want)
	}
}

// plainJSONError takes finX's own bytes out of a syntax error, which quotes them.
func plainJSONError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("the body breaks off: %w", io.ErrUnexpectedEOF)
	}
	if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("malformed JSON at byte %d", se.ByteOffset)
	}
	return err
}

// text reads an id or the like: a string, or a number in its own spelling,
// because the documentation and the SDKs disagree on which is sent.
func text(v jsontext.Value) (s string, ok bool) {
	switch v.Kind() {
	case '"':
		// The value has been validated; what is reported here is at most half a
		// surrogate pair, replaced by U+FFFD.
		b, _ := jsontext.AppendUnquote(nil, v)
		return string(b), true
	case '0':
		return string(v), true
	}
	return "", false
}
