// Package fault carries the one verdict that every answer of finX, Vault and
// NATS is given.
//
// The verdict is decided where the facts are known (the package that spoke to
// the server), travels up through ordinary %w wrapping, and is acted on in one
// place: where the delivery is settled. Nothing in between reads error texts.
package fault

import (
	"errors"
	"time"
)

// Verdict says what is to be done about an answer.
type Verdict uint8

// The four verdicts. Done is the verdict of a nil error.
const (
	Done      Verdict = iota // nothing is left to do
	Retry                    // the same call may succeed soon
	WaitUntil                // the same call may succeed, but not before Error.Until
	GiveUp                   // the same call will never succeed
)

// String returns the verdict as it is used in metric labels and log lines.
func (v Verdict) String() string {
	switch v {
	case Done:
		return "done"
	case Retry:
		return "retry"
	case WaitUntil:
		return "wait_until"
	case GiveUp:
		return "give_up"
	}
	return "unknown"
}

// Class is the reason class of a dead letter (header Dlq-Reason).
type Class string

// The classes a dead letter can have.
const (
	Malformed    Class = "malformed"     // the event itself is wrong; the error names the field
	Rejected     Class = "rejected"      // well-formed, but refused by a rule or by finX
	Exhausted    Class = "exhausted"     // out of attempts
	Expired      Class = "expired"       // too old to be of use
	UnknownState Class = "unknown_state" // a callback nobody asked for
	Oversize     Class = "oversize"      // larger than any message may be
	Outage       Class = "outage"        // a dependency was away for longer than the event may wait
)

// Dependency names the server an error came from. Empty means this process.
type Dependency string

// The servers this program depends on.
const (
	FinX  Dependency = "finx"
	Vault Dependency = "vault"
	NATS  Dependency = "nats"
)

// Error is an error with its verdict. Make one with Transient, Throttled or
// Permanent; read it with Of, or with errors.As when the details matter.
type Error struct {
	Verdict    Verdict
	Class      Class      // set when Verdict is GiveUp
	Dependency Dependency // empty when no server is to blame
	Until      time.Time  // set when Verdict is WaitUntil
	// Ambiguous reports that the call may have taken effect although no answer
	// came: a time-out, a reset, a 5xx after the request was sent. Calls that
	// spend a code or a refresh token must not be repeated blindly then.
	Ambiguous bool
	// Narrow reports that only what this call was about is affected: one
	// connection, one account, one bank. The server works for others.
	Narrow bool
	Err    error
}

// Error returns the text of the wrapped error; the verdict adds nothing to it.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *Error) Unwrap() error { return e.Err }

// Transient returns err with the verdict Retry.
func Transient(dep Dependency, err error) error {
	return &Error{Verdict: Retry, Dependency: dep, Err: err}
}

// Ambiguous returns err with the verdict Retry, marked as possibly effective.
func Ambiguous(dep Dependency, err error) error {
	return &Error{Verdict: Retry, Dependency: dep, Ambiguous: true, Err: err}
}

// Throttled returns err with the verdict WaitUntil.
func Throttled(dep Dependency, until time.Time, err error) error {
	return &Error{Verdict: WaitUntil, Dependency: dep, Until: until, Err: err}
}

// Permanent returns err with the verdict GiveUp and the class of its dead letter.
func Permanent(class Class, err error) error {
	return &Error{Verdict: GiveUp, Class: class, Err: err}
}

// Of returns the verdict of err: Done for nil, the verdict of the outermost
// *Error in its chain, and Retry for an error nobody judged, because giving up
// on something unknown would drop an event.
func Of(err error) Verdict {
	if err == nil {
		return Done
	}
	if fe, ok := errors.AsType[*Error](err); ok {
		return fe.Verdict
	}
	return Retry
}

// Until returns the time before which the call must not be repeated; ok is
// false when err carries none.
func Until(err error) (t time.Time, ok bool) {
	if fe, is := errors.AsType[*Error](err); is && fe.Verdict == WaitUntil {
		return fe.Until, true
	}
	return time.Time{}, false
}

// ClassOf returns the dead-letter class of err, Exhausted when it has none.
func ClassOf(err error) Class {
	if fe, ok := errors.AsType[*Error](err); ok && fe.Class != "" {
		return fe.Class
	}
	return Exhausted
}

// DependencyOf returns the server that err is to be blamed on, or "".
func DependencyOf(err error) Dependency {
	if fe, ok := errors.AsType[*Error](err); ok {
		return fe.Dependency
	}
	return ""
}

// IsAmbiguous reports whether the failed call may have taken effect.
func IsAmbiguous(err error) bool {
	fe, ok := errors.AsType[*Error](err)
	return ok && fe.Ambiguous
}
