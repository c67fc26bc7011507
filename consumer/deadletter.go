package consumer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/line"
)

// Headers of a dead letter.
const (
	HeaderReason   = "Dlq-Reason"   // the class, see internal/fault
	HeaderError    = "Dlq-Error"    // one line, at most MaxErrorLine bytes
	HeaderStream   = "Dlq-Stream"   // where the original is
	HeaderSequence = "Dlq-Sequence" // and its place there
	HeaderSubject  = "Dlq-Subject"
	HeaderConsumer = "Dlq-Consumer"
	HeaderAttempts = "Dlq-Attempts"
	HeaderTime     = "Dlq-Time" // when the dead letter was made, RFC 3339
	// HeaderOriginalID keeps the Nats-Msg-Id of the original, whose place is taken by
	// the dead letter's own.
	HeaderOriginalID = "Dlq-Msg-Id"
	// HeaderOriginalTime is when the original was stored, RFC 3339 with fractions: the
	// time of an event that has none of its own.
	HeaderOriginalTime = "Dlq-Original-Time"
)

// MaxErrorLine is the most bytes of an error that are kept or logged.
const MaxErrorLine = 1024

const (
	natsPrefix = "nats-" // headers the server acts on: expectations, TTL, schedules, rollup
	dlqPrefix  = "dlq-"
)

// deadLetter is what is known when a message is given up.
type deadLetter struct {
	d        Delivery       // as it was
	kept     events.Message // redacted
	codec    events.Codec
	class    fault.Class
	text     string // the error line, redacted
	consumer string
	now      time.Time
	again    bool // the stream took its id for that of another message's letter
}

// message returns the original with the dead letter's headers on it. When that
// would exceed maxPayload bytes, or withhold is set because the stream refused its
// size, the body gives way to a note that says how to find the original, which
// stays in its stream.
func (dl deadLetter) message(maxPayload int64, withhold bool) *nats.Msg {
	kept := dl.kept
	m := &nats.Msg{Subject: dl.codec.DLQSubject(kept.Subject), Header: nats.Header{}, Data: kept.Data}
	for name, values := range kept.Header {
		if !hasPrefixFold(name, natsPrefix) && !hasPrefixFold(name, dlqPrefix) {
			m.Header[name] = slices.Clone(values)
		}
	}
	own := dl.headers(kept)
	maps.Copy(m.Header, own)
	if !withhold && payload(m) <= maxPayload {
		return m
	}
	m.Data = dl.note()
	maps.DeleteFunc(m.Header, func(name string, _ []string) bool { return strings.EqualFold(name, events.HeaderContentType) })
	m.Header.Set(events.HeaderContentType, events.ContentTypeJSON)
	if payload(m) > maxPayload {
		// Headers alone can fill a message; the reference matters more.
		own.Set(events.HeaderContentType, events.ContentTypeJSON)
		own.Del(HeaderOriginalID)
		m.Header = own
	}
	return m
}

// headers are those of the dead letter itself.
func (dl deadLetter) headers(kept events.Message) nats.Header {
	h := nats.Header{}
	h.Set(HeaderReason, string(dl.class))
	h.Set(HeaderError, dl.text)
	h.Set(HeaderStream, dl.d.Stream)
	h.Set(HeaderSequence, strconv.FormatUint(dl.d.Sequence, 10))
	h.Set(HeaderSubject, kept.Subject)
	h.Set(HeaderConsumer, dl.consumer)
	h.Set(HeaderAttempts, strconv.Itoa(dl.d.Attempt))
	h.Set(HeaderTime, dl.now.UTC().Format(time.RFC3339))
	h.Set(events.HeaderMsgID, dl.id())
	if !dl.d.Time.IsZero() {
		h.Set(HeaderOriginalTime, dl.storedAt())
	}
	for name, values := range kept.Header {
		if strings.EqualFold(name, events.HeaderMsgID) && len(values) > 0 {
			h.Set(HeaderOriginalID, values[0])
		}
	}
	return h
}

// id is the Nats-Msg-Id of the dead letter: the original's place. A stream that was
// deleted and made again counts anew, so the place of one message may have been
// another's within the dedupe window; then the time it was stored goes behind it.
func (dl deadLetter) id() string {
	id := fmt.Sprintf("dlq:%s:%d", dl.d.Stream, dl.d.Sequence)
	if dl.again {
		id += ":" + dl.storedAt()
	}
	return id
}

func (dl deadLetter) storedAt() string { return dl.d.Time.UTC().Format(time.RFC3339Nano) }

// isThatOf reports whether a stored dead letter is one of this very message. One of
// before there was a time in it is taken for it when the bodies are the same.
func (dl deadLetter) isThatOf(stored events.Message, own *nats.Msg) bool {
	h := nats.Header(stored.Header)
	if at := h.Get(HeaderOriginalTime); at != "" {
		return at == dl.storedAt()
	}
	return h.Get(HeaderOriginalID) == own.Header.Get(HeaderOriginalID) && bytes.Equal(stored.Data, own.Data)
}

// note stands in for a body that cannot be kept. The digest is of the original
// body, so that whoever reads it again can tell it is the same.
func (dl deadLetter) note() []byte {
	sum := sha256.Sum256(dl.d.Data)
	note, err := json.Marshal(struct {
		Withheld string `json:"withheld"`
		Bytes    int    `json:"bytes"`
		SHA256   string `json:"sha256"`
		Stream   string `json:"stream"`
		Sequence uint64 `json:"sequence"`
	}{"the original and the headers of the dead letter together exceed the largest message", len(dl.d.Data), hex.EncodeToString(sum[:]), dl.d.Stream, dl.d.Sequence})
	if err != nil {
		return nil // cannot be: strings and numbers only
	}
	return note
}

// payload is the part of a message that counts against max_payload: the header
// block as it is written on the wire, and the data.
func payload(m *nats.Msg) int64 {
	n := len("NATS/1.0\r\n\r\n") + len(m.Data)
	for name, values := range m.Header {
		for _, v := range values {
			n += len(name) + len(": \r\n") + len(v)
		}
	}
	return int64(n)
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// oneLine makes s fit for a header or a log line.
func oneLine(s string) string { return line.Of(s, MaxErrorLine) }
