package consumer

import (
	"maps"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/internal/telemetry"
)

const (
	// maxNotes bounds the memory of a lane. Messages with a note are unsettled,
	// and the server allows MaxAckPending of them, usually some hundred; more notes
	// than this are of messages that other processes settled.
	maxNotes = 10_000
	// noteLife is how long a note without a new delivery is worth anything. It is
	// longer than the longest delay of one answer, by far.
	noteLife = 24 * time.Hour
)

// note is what a lane remembers of an unsettled message between deliveries. The
// server counts deliveries, but cannot tell an attempt from a wait, so the
// difference is kept here. It is lost with the process, which only makes the
// message be tried longer.
type note struct {
	uncounted int // deliveries that were no attempt
	failures  int // counted failures
	tries     int // failures that were not waits: the step on the ladder of delays
	refused   int // deliveries that were given back without being handled
	delivered int // the server's count when last seen
	first     time.Time
	until     time.Time // before that it is not to be handled; zero: at any time
	last      time.Time
	returned  bool             // this process has handled it and lived
	trace     telemetry.Remote // of the attempt before, while tracing is on
}

// attempt is the number of the counted attempt that a delivery is.
func (n note) attempt(delivered int) int { return max(1, delivered-n.uncounted) }

// notes holds the notes of one lane by stream sequence: that of the message, or,
// of what was parked, that of what came due.
type notes struct {
	mu    sync.Mutex
	bySeq map[uint64]note
}

func newNotes() *notes { return &notes{bySeq: map[uint64]note{}} }

// get returns what is known of a message that is being delivered for the
// delivered-th time. A count that does not grow means the server began anew (a
// reset, a new consumer, a lost count), and so do we.
func (s *notes) get(seq uint64, delivered int) note {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.bySeq[seq]
	if ok && delivered <= n.delivered {
		delete(s.bySeq, seq)
		return note{}
	}
	return n
}

// seed takes over what another process knew of a message, unless there is a note.
func (s *notes) seed(key uint64, n note, now time.Time) note {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.bySeq[key]; ok {
		return known
	}
	s.makeRoom(now)
	n.last = now
	s.bySeq[key] = n
	return n
}

// failed notes the end of a delivery that will come back, and why.
func (s *notes) failed(seq uint64, delivered int, a Action, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, known := s.bySeq[seq]
	if !known {
		s.makeRoom(now)
	}
	if a.Outcome == OutcomeBusy {
		n.refused++
	} else {
		n.returned = true
		if n.first.IsZero() {
			n.first = now
		}
	}
	if a.Outcome == OutcomeRetry || a.Outcome == OutcomeNotStored {
		n.tries++
	}
	if a.Counts {
		n.failures++
	} else {
		n.uncounted++
	}
	n.delivered, n.last = delivered, now
	if a.Outcome != OutcomeBusy && a.Outcome != OutcomeShutdown { // those say nothing about when
		n.until = a.notBefore
	}
	s.bySeq[seq] = n
}

// traced notes the span of a delivery that will come back.
func (s *notes) traced(seq uint64, span telemetry.Remote) {
	if span.TraceParent == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, known := s.bySeq[seq]; known {
		n.trace = span
		s.bySeq[seq] = n
	}
}

// forget drops the note of a settled message.
func (s *notes) forget(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bySeq, seq)
}

// makeRoom drops old notes when there are too many, and any one when all are new.
func (s *notes) makeRoom(now time.Time) {
	if len(s.bySeq) < maxNotes {
		return
	}
	maps.DeleteFunc(s.bySeq, func(_ uint64, n note) bool { return now.Sub(n.last) > noteLife })
	for seq := range s.bySeq {
		if len(s.bySeq) < maxNotes {
			return
		}
		delete(s.bySeq, seq)
	}
}
