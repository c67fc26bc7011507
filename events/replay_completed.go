package events

import (
	"strconv"
	"time"
)

// How a replay came to its end.
const (
	ReplayCompletedOutcome   = "completed"
	ReplayInterruptedOutcome = "interrupted" // it can be resumed
)

// ReplayCompleted says that an operator's replay has come to its end or was
// interrupted: who replayed what, why, and what came of it. It belongs to no
// connection.
type ReplayCompleted struct {
	ReplayID   string
	Mode       string // outputs, inputs or refetch
	By         string
	Reason     string
	StartedAt  time.Time
	FinishedAt time.Time
	Outcome    string
	Selection  ReplaySelection
	To         string // subject; "" = each event's own

	Matched    int // messages, or connections of a refetch
	Replayed   int // stored by this replay
	Duplicates int // were in the stream already, by this replay
	Skipped    int
	Failed     int
	Bytes      int // of what was replayed

	BankCallsEstimated int
}

// ReplaySelection is what was chosen. What is empty did not choose.
type ReplaySelection struct {
	Since, Until   time.Time
	FromSeq, ToSeq uint64
	Subject        string
	ConnectionID   string
	UserSHA256     string // of the user_id: this event outlives the user's erasure
	WindowSince    string // of a refetch, YYYY-MM-DD
	WindowUntil    string
	Full           bool
}

// NewReplayCompleted makes the event. Its id comes from the replay, the outcome
// and how far it had come, so that it is published once for each end.
func NewReplayCompleted(d ReplayCompleted) Output {
	w := openObject(nil)
	w.text("replay_id", d.ReplayID)
	w.text("mode", d.Mode)
	w.text("by", d.By)
	w.optional("reason", d.Reason)
	w.text("started_at", formatTime(d.StartedAt))
	w.text("finished_at", formatTime(d.FinishedAt))
	w.text("outcome", d.Outcome)
	w.name("selection")
	w.b = d.Selection.append(w.b)
	w.optional("to", d.To)
	w.number("matched", d.Matched)
	w.number("replayed", d.Replayed)
	w.number("duplicates", d.Duplicates)
	w.number("skipped", d.Skipped)
	w.number("failed", d.Failed)
	w.number("bytes", d.Bytes)
	w.number("bank_calls_estimated", d.BankCallsEstimated)
	far := strconv.Itoa(d.Replayed + d.Duplicates + d.Skipped + d.Failed)
	return newOutput(TypeReplayCompleted, Cause{}, "", w.close(), d.ReplayID, d.Outcome, far)
}

func (s ReplaySelection) append(dst []byte) []byte {
	w := openObject(dst)
	w.time("since", s.Since)
	w.time("until", s.Until)
	if s.FromSeq > 0 {
		w.number("from_seq", int(s.FromSeq)) //nolint:gosec // no stream has that many
	}
	if s.ToSeq > 0 {
		w.number("to_seq", int(s.ToSeq)) //nolint:gosec // no stream has that many
	}
	w.optional("subject", s.Subject)
	w.optional("connection_id", s.ConnectionID)
	w.optional("user_sha256", s.UserSHA256)
	w.optional("window_since", s.WindowSince)
	w.optional("window_until", s.WindowUntil)
	if s.Full {
		w.boolean("full", true)
	}
	return w.close()
}
