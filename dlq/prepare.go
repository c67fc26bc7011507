package dlq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/streamread"
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
		case isGone(err):
			return refuse("the dead letter is no whole copy, and its original, stream %q sequence %d, is gone", l.Original.Stream, l.Original.Sequence)
		case err != nil:
			return e, fmt.Errorf("dlq: reading the original of dead letter %d: %w", l.Sequence, err)
		}
		if why := q.differs(l, typ, note, stored); why != "" {
			return refuse("stream %q holds another message at sequence %d by now: %s", l.Original.Stream, l.Original.Sequence, why)
		}
		m, e.Refetched = stored, true
	}
	if !e.Refetched && l.Original.Stored.IsZero() {
		var err error
		if m.Time, err = q.storedAt(ctx, l, typ, m); err != nil {
			return e, err
		}
	}
	again, env, err := q.cfg.Codec.Republish(m)
	e.subject, e.header, e.data = again.Subject, again.Header, again.Data
	if err == nil {
		err = decode(env)
	}
	e.Wrong = err
	return e, nil
}

// storedAt returns when the original of a letter that does not say so was stored, as
// its stream says, where the event has no time of its own: stored again, it would
// be younger than it is. When it was given up is the next best where the stream
// cannot tell.
func (q *Queue) storedAt(ctx context.Context, l Letter, typ string, m events.Message) (time.Time, error) {
	given := m.Time
	m.Time = time.Time{}
	if env, err := q.cfg.Codec.Parse(m); err != nil || !env.Time.IsZero() {
		return given, nil //nolint:nilerr // what cannot be read has no time to lose
	}
	stored, err := q.read(ctx, l.Original.Stream, l.Original.Sequence)
	switch {
	case err == nil && q.differs(l, typ, withheld{}, stored) == "":
		return stored.Time, nil
	case err == nil, isGone(err):
		return given, nil
	}
	return time.Time{}, fmt.Errorf("dlq: reading when the original of dead letter %d was stored: %w", l.Sequence, err)
}

// isGone reports whether a message, or its whole stream, is not there.
func isGone(err error) bool {
	return errors.Is(err, streamread.ErrNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrInvalidStreamName)
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
