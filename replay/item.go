package replay

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/events"
)

// item is one thing that a selection chose: a stored message, or a connection to
// be fetched.
type item struct {
	typ        string
	stream     string // "" for a connection
	sequence   uint64
	connection string // "" when not known
	stored     time.Time
	bytes      int
	data       []byte // nil when planning

	skip  string // why it is not replayed; "" when it is
	done  bool   // an input whose work is done: handling it again makes no call
	calls int    // bank calls to be expected of it

	message func() (*nats.Msg, error) // makes what is published, without its message id
	id      string                    // its Nats-Msg-Id
}

// place names an item for people.
func (it item) place() string {
	if it.stream == "" {
		return it.connection
	}
	return fmt.Sprintf("%s %d", it.stream, it.sequence)
}

// Why something is not replayed.
const (
	skipCopy       = "copy of an earlier replay"
	skipAudit      = "record of a replay"
	skipMalformed  = "malformed: it would be a dead letter again"
	skipErasure    = "erasure request: only replayed when --subject names it"
	skipUnknown    = "its state is unknown: it would be a dead letter again"
	skipConsumed   = "its state is consumed by another code: it would be a dead letter again"
	skipNoRecord   = "there is no record of its connection"
	skipUnreadable = "the record of its connection cannot be read by this version"
	skipRenewed    = "its connection was established again since"
	skipErased     = "its connection was erased"
	skipSuperseded = "a later fetch has completed; replay refetch asks for a new one"
	skipEnded      = "its connection is not established now"
)

// source is what a mode reads from.
type source interface {
	// each calls fn with every item from a position on, in the order in which they
	// are replayed. When planning, the messages cannot be made.
	each(ctx context.Context, at position, planning bool, fn func(item) error) error
}

// position is how far a replay has come.
type position struct {
	Spans []Span `json:"spans,omitempty"`
	After string `json:"after,omitempty"` // of a refetch: the last connection dealt with
}

// moved returns p with an item dealt with.
func (p position) moved(it item) position {
	if it.stream == "" {
		p.After = it.connection
		return p
	}
	spans := make([]Span, len(p.Spans))
	copy(spans, p.Spans)
	for i := range spans {
		if spans[i].Stream == it.stream {
			spans[i].Done = it.sequence
		}
	}
	p.Spans = spans
	return p
}

const idPrefix = "replay:"

// messageID is the Nats-Msg-Id of the copy of a stored message.
func messageID(replayID, stream string, sequence uint64) string {
	return fmt.Sprintf("%s%s:%s:%d", idPrefix, replayID, stream, sequence)
}

// header returns a header's first value, in the spelling of package events or,
// as some clients write them, in any other.
func header(m events.Message, name string) string {
	if v := m.Header[name]; len(v) > 0 {
		return v[0]
	}
	for n, v := range m.Header {
		if strings.EqualFold(n, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// isCopy reports whether a message was published by a replay of stored messages:
// its message id says so, and its mark says the same.
func isCopy(m events.Message) bool {
	id := header(m, events.HeaderReplayID)
	return id != "" && strings.HasPrefix(header(m, events.HeaderMsgID), idPrefix+id+":")
}

// within says whether a message is in the time of a selection. Those behind its
// end are errEnough away from it.
func (s Selection) within(m events.Message) (bool, error) {
	switch {
	case m.Time.Before(s.Since):
		return false, nil
	case s.Until.IsZero() || !m.Time.After(s.Until):
		return true, nil
	case m.Time.After(s.Until.Add(skew)):
		return false, errEnough
	}
	return false, nil
}
