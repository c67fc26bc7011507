package connection

import (
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
)

// StateBinding says which connection a state parameter was made for, and which
// code consumed it. A state is consumed once (design: an injected code looks
// like a second callback on a consumed state).
type StateBinding struct {
	ConnectionID string
	ConsumedAt   time.Time // zero until consumed
	CodeSHA256   string    // of the code that consumed it, lower-case hex
}
