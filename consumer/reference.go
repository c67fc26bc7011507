package consumer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// referenceVersion is that of the format below.
const referenceVersion = 1

// reference is what is parked of a delivery: where the message is and what was
// tried. The message stays in its stream; a code is nowhere but where upstream
// put it.
type reference struct {
	V        int    `json:"v"`
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"`
	// StoredAt is when the message was stored. Another one may have its place by now,
	// in a stream that was made anew.
	StoredAt time.Time `json:"stored_at,omitzero"`
	// Subject is that of the message, redacted: for a dead letter when the message
	// itself is gone.
	Subject  string `json:"subject"`
	Lane     string `json:"lane"`    // that handles it
	Durable  string `json:"durable"` // that delivered it first
	Attempts int    `json:"attempts"`
	Failures int    `json:"failures"`
	Tries    int    `json:"tries"`
	// FirstFailure is when its patience began to run; absent when it has not.
	FirstFailure time.Time `json:"first_failure,omitzero"`
	ParkedAt     time.Time `json:"parked_at"`
}

// place is the end of the subjects a parked delivery waits on and comes due on:
// one schedule a message, so that parking it again replaces the first.
func (r reference) place() string { return r.Stream + "." + strconv.FormatUint(r.Sequence, 10) }

func (r reference) waitsOn(c events.Codec) string {
	return c.Subject(events.SubjectTimerPark + "." + r.place())
}

func (r reference) dueOn(c events.Codec) string {
	return c.Subject(events.SubjectDuePark + "." + r.place())
}

// isParked reports whether a message is a parked delivery that came due.
func isParked(c events.Codec, subject string) bool {
	return strings.HasPrefix(subject, c.Subject(events.SubjectDuePark)+".")
}

// isDue reports whether a timer made the message. The broker keeps the last one of a
// connection only, see publisher.ScheduleSync.
func (r reference) isDue(c events.Codec) bool {
	return strings.HasPrefix(r.Subject, c.Subject(events.SubjectDue)+".")
}

// isOf reports whether a message is the one that was parked.
func (r reference) isOf(m events.Message) bool {
	return r.StoredAt.IsZero() || r.StoredAt.Equal(m.Time)
}

// errNewer is what a newer program parked. It waits for a process that has been
// upgraded.
var errNewer = errors.New("a newer version of the program parked it")

// parseReference reads what came due on a subject. What it cannot read is malformed
// for good, except errNewer.
func parseReference(c events.Codec, subject string, data []byte) (reference, error) {
	bad := func(field, problem string) (reference, error) {
		return reference{}, fault.Permanent(fault.Malformed, &events.FieldError{Field: field, Problem: problem})
	}
	var head struct {
		V int `json:"v"`
	}
	if json.Unmarshal(data, &head) == nil && head.V > referenceVersion {
		return reference{}, fmt.Errorf("consumer: reading a parked reference: %w: version %d, the highest that is read is %d", errNewer, head.V, referenceVersion)
	}
	var r reference
	switch err := json.Unmarshal(data, &r); {
	case err != nil:
		// The decoder's own text may quote what it read.
		return reference{}, fault.Permanent(fault.Malformed, errors.New("consumer: reading a parked reference: not as it is written"))
	case r.V != referenceVersion:
		return bad("v", "must be "+strconv.Itoa(referenceVersion))
	case r.Stream == "" || strings.ContainsAny(r.Stream, " \t\r\n.*>/\\"):
		return bad("stream", "not a name of a stream")
	case r.Sequence == 0:
		return bad("sequence", "missing")
	case r.Lane == "":
		return bad("lane", "missing")
	case r.Attempts < 0 || r.Failures < 0 || r.Tries < 0:
		return bad("attempts", "must not be negative")
	case r.dueOn(c) != subject:
		return bad("sequence", "not that of the subject")
	}
	return r, nil
}
