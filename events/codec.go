package events

import "strings"

// MaxSubject is the longest subject this program publishes to, in bytes. A broker
// takes 4096 for a whole control line by default.
const MaxSubject = 1024

// DefaultMaxInputBytes is the size above which an input is refused unread.
const DefaultMaxInputBytes = 512 << 10

// Codec knows how this installation names its subjects. The zero value is
// ready to use.
type Codec struct {
	Prefix        string // SUBJECT_PREFIX without its dot, may be empty
	MaxInputBytes int    // of the message body; 0 means DefaultMaxInputBytes
}

// Subject returns the subject of a base name: the prefix, a dot, the name.
func (c Codec) Subject(base string) string {
	if c.Prefix == "" {
		return base
	}
	return c.Prefix + "." + base
}

// OutputSubject returns the subject an output is published to, with the
// connection id as last token when perConnection is set and there is one.
func (c Codec) OutputSubject(typ, connectionID string, perConnection bool) string {
	if !perConnection || connectionID == "" {
		return c.Subject(typ)
	}
	return c.Subject(typ) + "." + connectionID
}

// DLQSubject returns the subject of the dead letter of a message that was on
// the subject original. The prefix stands once, before everything.
//
// A subject longer than MaxSubject keeps its base name only. With the reply
// subject it would be longer than the control line a broker takes, and that
// ends the whole connection, for good.
func (c Codec) DLQSubject(original string) string {
	base, ok := c.base(original)
	if !ok {
		base = original
	}
	if len(base) > MaxSubject {
		if typ, known := c.TypeOf(original); known {
			base = typ
		} else {
			base = base[:MaxSubject]
		}
	}
	return c.Subject(SubjectDLQ + "." + base)
}

// TypeOf returns the event type of a subject: the base name, after the prefix
// and before any further tokens. A sync timer that came due is a sync request;
// one of the keep-alive has a type of its own.
func (c Codec) TypeOf(subject string) (string, bool) {
	base, ok := c.base(subject)
	if !ok {
		return "", false
	}
	for _, types := range [...][]string{InputTypes(), OutputTypes()} {
		for _, typ := range types {
			if isOrUnder(base, typ) {
				return typ, true
			}
		}
	}
	if isOrUnder(base, SubjectDueSync) || isOrUnder(base, SubjectTimerSync) {
		return TypeSyncRequested, true
	}
	if isOrUnder(base, SubjectDueKeepAlive) || isOrUnder(base, SubjectTimerKeepAlive) {
		return TypeKeepAliveDue, true
	}
	return "", false
}

// base returns subject without the prefix.
func (c Codec) base(subject string) (string, bool) {
	if c.Prefix == "" {
		return subject, true
	}
	return strings.CutPrefix(subject, c.Prefix+".")
}

func isOrUnder(subject, base string) bool {
	rest, ok := strings.CutPrefix(subject, base)
	return ok && (rest == "" || rest[0] == '.')
}

func (c Codec) maxInputBytes() int {
	if c.MaxInputBytes > 0 {
		return c.MaxInputBytes
	}
	return DefaultMaxInputBytes
}
