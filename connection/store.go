package connection

import (
	"context"
	"errors"
	"time"
)

// What a store of records and state bindings may answer. They stand here, and
// not beside one store, so that whoever asks needs to know no store.
var (
	// ErrNotFound: there is no such record or binding.
	ErrNotFound = errors.New("connection: not found")
	// ErrExists: a record of that id is there already.
	ErrExists = errors.New("connection: exists already")
	// ErrConflict: the record was written by somebody else in the meantime.
	ErrConflict = errors.New("connection: written by somebody else in the meantime")
	// ErrStateTaken: the state parameter is bound to another connection.
	ErrStateTaken = errors.New("connection: state bound to another connection")
	// ErrStateConsumed: a callback with another code has used the state.
	ErrStateConsumed = errors.New("connection: state consumed by another code")
	// ErrLeaseHeld: somebody else holds the lease now.
	ErrLeaseHeld = errors.New("connection: lease held by somebody else")
	// ErrLeaseLost: the lease ran out or was given to somebody else.
	ErrLeaseLost = errors.New("connection: lease lost")
)

// StateBinding says which connection a state parameter was made for, and which
// code consumed it. A state is consumed once (an injected code looks
// like a second callback on a consumed state).
type StateBinding struct {
	ConnectionID string
	ConsumedAt   time.Time // zero until consumed
	CodeSHA256   string    // of the code that consumed it, lower-case hex
	Revision     uint64    // of what was looked up, for who changes it; 0 where a store has none
}

// Lease is the right to be the only one at work on something, until it runs
// out. It is economy, not safety: a process that was paused may go on working
// for a moment after its lease has ended, so what must happen once only is
// guarded by a compare-and-set of its own. Safe for concurrent use.
type Lease interface {
	// Renew extends the lease to its full length from now. ErrLeaseLost means
	// that it is gone for good.
	Renew(ctx context.Context) error
	// Release ends the lease. Releasing one that is gone already is no error.
	Release(ctx context.Context) error
	// Fence is a number that is higher than that of every earlier holder. It
	// stays the same over renewals.
	Fence() uint64
}
