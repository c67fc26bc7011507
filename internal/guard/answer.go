package guard

import "time"

// Priority orders the calls that wait for their turn.
type Priority uint8

// The priorities, most urgent first.
const (
	Callback Priority = iota // exchanges a code, which dies: strictly first
	Link                     // a human waits for it
	Token                    // refreshes tokens
	Accounts                 // begins a fetch
	Page                     // goes on with one
)

// Kind is what an answer says about the server, whatever it says about the
// request.
type Kind uint8

// The kinds of answers.
const (
	Unknown   Kind = iota // nothing: the caller gave up, or nothing was sent
	Alive                 // it works
	Away                  // there was no usable answer
	Throttled             // it asks everybody to stay away
)

// Answer is how one call ended, as far as the server is concerned.
type Answer struct {
	Kind Kind
	// Until is when a server that throttles may be asked again; zero when it
	// named no time.
	Until time.Time
	// Why is one line for people, without secrets.
	Why string
}
