package dlq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
)

// RefusedError is a dead letter that cannot be redriven, and why.
type RefusedError struct {
	Sequence uint64
	Why      string
}

// Error names the dead letter and the reason.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("dlq: redriving dead letter %d: %s", e.Sequence, e.Why)
}

// Event is the event of a dead letter, ready to be redriven. Its content may
// be a code, so it does not print.
type Event struct {
	Letter Letter
	// Refetched reports that the content was read again from the original's
	// stream.
	Refetched bool
	// Wrong is what this version finds wrong with the event: redriven as it is,
	// it would come straight back. Nil when it is well-formed.
	Wrong error

	subject string
	header  map[string][]string
	data    []byte
}

// String says where the event goes, and nothing of its content.
func (e Event) String() string { return fmt.Sprintf("event of dead letter %d", e.Letter.Sequence) }

// GoString keeps %#v from printing the content.
func (e Event) GoString() string { return "dlq.Event(" + e.String() + ")" }

// Prepare finds the event of a dead letter, in it or in the stream it came
// from. It changes nothing. Errors: *RefusedError when there is no way to have
// it, others when the broker did not answer.
func (q *Queue) Prepare(ctx context.Context, l Letter) (Event, error) {
	e := Event{Letter: l}
	refuse := func(format string, args ...any) (Event, error) {
		return e, &RefusedError{l.Sequence, fmt.Sprintf(format, args...)}
	}
	typ, ok := q.cfg.Codec.TypeOf(l.Original.Subject)
	if !ok || !events.IsHandled(typ) {
		return refuse("its %s names no input of the connector", headerSubject)
	}
	m := l.message()
	// The copy is preferred where it is whole: the stream may have been emptied.
	if note, gone := l.withheld(); gone || typ == events.TypeCallbackReceived {
		stored, err := q.read(ctx, l.Original.Stream, l.Original.Sequence)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound), errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrInvalidStreamName):
			return refuse("the dead letter is no whole copy, and its original, stream %q sequence %d, is gone", l.Original.Stream, l.Original.Sequence)
		case err != nil:
			return e, fmt.Errorf("dlq: reading the original of dead letter %d: %w", l.Sequence, err)
		}
		if why := q.differs(l, typ, note, stored); why != "" {
			return refuse("stream %q holds another message at sequence %d by now: %s", l.Original.Stream, l.Original.Sequence, why)
		}
		m, e.Refetched = stored, true
	}
	e.subject, e.data, e.header = m.Subject, m.Data, original(m.Header)
	if len(e.subject) > events.MaxSubject {
		e.subject = q.cfg.Codec.Subject(typ) // the tokens behind say nothing to the connector
	}
	env, err := q.cfg.Codec.Parse(m)
	if err == nil {
		err = decode(env)
	}
	e.Wrong = err
	if env.ID != "" && !q.carries(m, env.ID) {
		// The id was the message's place in its stream, or its Nats-Msg-Id.
		own := env.Headers()
		maps.DeleteFunc(e.header, func(name string, _ []string) bool { return namedIn(own, name) })
		maps.Copy(e.header, own)
		e.data = env.Data
	}
	return e, nil
}

// differs says what tells a stored message from the original of a letter, ""
// when nothing does. A stream that was deleted and made again counts anew.
func (q *Queue) differs(l Letter, typ string, note withheld, m events.Message) string {
	if got, _ := q.cfg.Codec.TypeOf(m.Subject); got != typ {
		return "its subject is another"
	}
	// A redacted one tells nothing, and a letter short of room has none.
	if id := l.Original.MsgID; id != "" && id != first(m.Header, events.HeaderMsgID) && !strings.Contains(id, "[redacted]") {
		return "its " + events.HeaderMsgID + " is another"
	}
	if m.Time.After(l.Stored) {
		return "it is younger than the dead letter"
	}
	if sum := sha256.Sum256(m.Data); note.SHA256 != "" && note.SHA256 != hex.EncodeToString(sum[:]) {
		return "its digest is another"
	}
	return ""
}

// carries reports whether a message says its id itself, wherever it is stored.
func (q *Queue) carries(m events.Message, id string) bool {
	env, err := q.cfg.Codec.Parse(events.Message{Subject: m.Subject, Header: original(m.Header), Data: m.Data})
	return err == nil && env.ID == id
}

// namedIn reports whether h has a header of that name, in any case.
func namedIn(h map[string][]string, name string) bool {
	for n := range h {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

func decode(e events.Envelope) error {
	var err error
	switch e.Type {
	case events.TypeConnectRequested:
		_, err = events.DecodeConnectRequested(e)
	case events.TypeCallbackReceived:
		_, err = events.DecodeCallbackReceived(e)
	case events.TypeSyncRequested:
		_, err = events.DecodeSyncRequested(e)
	case events.TypeErasureRequested:
		_, err = events.DecodeErasureRequested(e)
	case events.TypeKeepAliveDue:
		_, err = events.DecodeKeepAliveDue(e)
	}
	return err
}
