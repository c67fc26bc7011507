package replay

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/finx-connector/finx-connector/events"
)

// Mode says what is replayed.
type Mode string

// The modes.
const (
	Outputs Mode = "outputs" // stored output events are published again; no bank call
	Inputs  Mode = "inputs"  // stored input events are handled again
	Refetch Mode = "refetch" // a new fetch of connections is asked for
)

// Request is what an operator asks for.
type Request struct {
	Mode      Mode      `json:"mode"`
	Selection Selection `json:"selection"`
	To        string    `json:"to,omitempty"`   // outputs: the subject, "" = each event's own
	Full      bool      `json:"full,omitempty"` // refetch: the whole history
	By        string    `json:"by"`
	Reason    string    `json:"reason,omitempty"`
}

// Selection chooses messages, or connections. The zero value chooses all.
type Selection struct {
	// Since and Until are when a message was stored, both included; in a refetch
	// they are the days of the window.
	Since      time.Time `json:"since,omitzero"`
	Until      time.Time `json:"until,omitzero"`
	FromSeq    uint64    `json:"from_seq,omitempty"`
	ToSeq      uint64    `json:"to_seq,omitempty"`
	Subject    string    `json:"subject,omitempty"` // with or without tokens behind it; wildcards are NATS's
	Connection string    `json:"connection,omitempty"`
	User       string    `json:"user,omitempty"`
}

// UsageError is a request that cannot be meant.
type UsageError struct{ Problem string }

// Error names the flag.
func (e *UsageError) Error() string { return e.Problem }

func usage(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Check says what is wrong with a request as far as no server is needed for it.
// Errors: *UsageError.
func (q Request) Check(codec events.Codec) error {
	if err := q.Selection.check(); err != nil {
		return err
	}
	switch {
	case q.Mode != Outputs && q.Mode != Inputs && q.Mode != Refetch:
		return usage("there is no replay of %q", q.Mode)
	case q.By == "":
		return usage("--by is empty: a replay is on somebody's account")
	case len(q.By) > maxText || len(q.Reason) > maxText:
		return usage("--by and --reason have at most %d bytes", maxText)
	case !isLine(q.By) || !isLine(q.Reason):
		return usage("--by and --reason must be one line of text")
	case q.To != "" && q.Mode != Outputs:
		return usage("--to is for outputs: inputs are handled on their own subjects")
	case q.Full && q.Mode != Refetch:
		return usage("--full is for refetch")
	case q.Mode == Refetch:
		return q.checkRefetch()
	}
	return checkTarget(codec, q.To)
}

// isLine reports whether s is text without anything that controls a terminal.
func isLine(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }

// maxText bounds what an operator may write into the record.
const maxText = 1024

// check looks at a selection alone.
func (s Selection) check() error {
	switch {
	case !s.Since.IsZero() && !s.Until.IsZero() && s.Until.Before(s.Since):
		return usage("--until is before --since")
	case s.ToSeq > 0 && s.ToSeq < s.FromSeq:
		return usage("--to-seq is below --from-seq")
	case s.Connection != "" && !events.IsUUID(s.Connection):
		return usage("--connection must be a UUID in lower case")
	case len(s.User) > events.MaxUserID:
		return usage("--user is longer than any user_id")
	case s.Subject != "" && !isSubject(s.Subject, true):
		return usage("--subject must be a NATS subject")
	}
	return nil
}

func (q Request) checkRefetch() error {
	s := q.Selection
	switch {
	case s.FromSeq > 0 || s.ToSeq > 0:
		return usage("--from-seq and --to-seq choose messages; a refetch reads no stream")
	case s.Subject != "":
		return usage("--subject chooses messages; a refetch reads no stream")
	case q.Full && !(s.Since.IsZero() && s.Until.IsZero()):
		return usage("--full reads the whole history: leave --since and --until out")
	case !s.Until.IsZero() && s.Since.IsZero():
		return usage("--until is the end of a window that --since begins: give both")
	}
	return nil
}

// checkTarget refuses subjects that mean something to the connector or to NATS.
func checkTarget(codec events.Codec, to string) error {
	if to == "" {
		return nil
	}
	if !isSubject(to, false) || len(to) > events.MaxSubject {
		return usage("--to must be a NATS subject without wildcards")
	}
	if strings.HasPrefix(to, "$") || strings.HasPrefix(to, "_") {
		return usage("--to %s: subjects that begin with $ or _ are the broker's", to)
	}
	_, known := codec.TypeOf(to)
	for _, own := range []string{events.SubjectTimer, events.SubjectDue, events.SubjectDLQ} {
		known = known || strings.HasPrefix(to+".", codec.Subject(own)+".")
	}
	if known {
		return usage("--to %s is a subject of the connector's own; without --to each event goes to the subject it was on", to)
	}
	return nil
}

// isSubject reports whether s is a subject, or with wildcards a pattern.
func isSubject(s string, wildcards bool) bool {
	tokens := strings.Split(s, ".")
	for i, token := range tokens {
		switch {
		case token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			return false
		case token == ">" && (!wildcards || i < len(tokens)-1), token == "*" && !wildcards:
			return false
		case len(token) > 1 && strings.ContainsAny(token, "*>") && !wildcards:
			return false
		}
	}
	return true
}

// record returns the selection as it is kept for the record, without the user.
func (q Request) record() events.ReplaySelection {
	s := q.Selection
	out := events.ReplaySelection{Subject: s.Subject, ConnectionID: s.Connection, Full: q.Full, FromSeq: s.FromSeq, ToSeq: s.ToSeq}
	if s.User != "" {
		sum := sha256.Sum256([]byte(s.User))
		out.UserSHA256 = hex.EncodeToString(sum[:])
	}
	if q.Mode == Refetch {
		out.WindowSince, out.WindowUntil = day(s.Since), day(s.Until)
	} else {
		out.Since, out.Until = s.Since, s.Until
	}
	return out
}

// day is the UTC date of a time, empty for none.
func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}
