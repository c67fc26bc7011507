package dlq

import (
	"encoding/json"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// Headers of a dead letter; package consumer writes them, a test holds the two
// lists together.
const (
	headerReason     = "Dlq-Reason"
	headerError      = "Dlq-Error"
	headerStream     = "Dlq-Stream"
	headerSequence   = "Dlq-Sequence"
	headerSubject    = "Dlq-Subject"
	headerConsumer   = "Dlq-Consumer"
	headerAttempts   = "Dlq-Attempts"
	headerTime       = "Dlq-Time"
	headerOriginalID = "Dlq-Msg-Id"
	headerStored     = "Dlq-Original-Time"
)

// Letter is one dead letter. What it says comes from headers, which another
// program may have written: missing or odd ones are zero.
type Letter struct {
	Sequence uint64    // in the stream of dead letters
	Subject  string    // dlq.<original subject>
	Stored   time.Time // by the stream of dead letters

	Reason   fault.Class
	Error    string // one line
	Consumer string
	Attempts int
	Time     time.Time // when the event was given up; Stored when it does not say
	Original Original

	// Header is that of the original, without what NATS and the dead letter added.
	Header map[string][]string
	// Data is the original's, as far as it may be kept. It may hold personal data.
	Data []byte
}

// Original is where the event of a dead letter is.
type Original struct {
	Stream   string
	Sequence uint64
	Subject  string // a code in it is redacted
	MsgID    string // its Nats-Msg-Id, "" if it had none
	// Stored is when it was stored there. Zero when the letter does not say, as those
	// of before version 0.5 do not.
	Stored time.Time
}

// Read reads a message of the stream of dead letters.
func Read(m events.Message) Letter {
	l := Letter{
		Sequence: m.Sequence, Subject: m.Subject, Stored: m.Time, Data: m.Data, Header: events.PublishedHeaders(m.Header),
		Reason: fault.Class(first(m.Header, headerReason)), Error: first(m.Header, headerError), Consumer: first(m.Header, headerConsumer),
		Original: Original{
			Stream: first(m.Header, headerStream), Subject: first(m.Header, headerSubject), MsgID: first(m.Header, headerOriginalID),
		},
	}
	l.Attempts, _ = strconv.Atoi(first(m.Header, headerAttempts))
	l.Original.Sequence, _ = strconv.ParseUint(first(m.Header, headerSequence), 10, 64)
	l.Original.Stored, _ = time.Parse(time.RFC3339Nano, first(m.Header, headerStored))
	var err error
	if l.Time, err = time.Parse(time.RFC3339, first(m.Header, headerTime)); err != nil {
		l.Time = m.Time
	}
	return l
}

// first returns a header in the spelling of this package or, as some clients
// write them, in any other.
func first(h map[string][]string, name string) string {
	for _, spelled := range []string{name, textproto.CanonicalMIMEHeaderKey(name), strings.ToLower(name)} {
		if v := h[spelled]; len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// withheld is the note that stands in for a body that was not kept.
type withheld struct {
	Withheld *string `json:"withheld"`
	Bytes    *int    `json:"bytes"`
	SHA256   string  `json:"sha256"` // of the body, if known
}

// Withheld reports whether the body gave way to a note, because it was too
// large or might have held a code.
func (l Letter) Withheld() bool {
	_, ok := l.withheld()
	return ok
}

func (l Letter) withheld() (withheld, bool) {
	var note withheld
	err := json.Unmarshal(l.Data, &note)
	return note, err == nil && note.Withheld != nil && note.Bytes != nil
}

// message is the original as far as the dead letter has it.
func (l Letter) message() events.Message {
	m := events.Message{
		Subject: l.Original.Subject, Header: events.PublishedHeaders(l.Header), Data: l.Data,
		Stream: l.Original.Stream, Sequence: l.Original.Sequence, Time: l.Original.Stored,
	}
	if m.Time.IsZero() {
		m.Time = l.Time // it cannot have been stored later
	}
	if l.Original.MsgID != "" {
		m.Header[events.HeaderMsgID] = []string{l.Original.MsgID}
	}
	return m
}
