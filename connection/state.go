package connection

import (
	"fmt"
	"slices"
)

// State is where a connection stands.
type State string

// The states of a connection.
const (
	Requested               State = "requested"                // the connect event is known, no widget link yet
	LinkCreated             State = "link_created"             // the user has a link to the widget
	CallbackReceived        State = "callback_received"        // a code came back and is being exchanged
	Established             State = "established"              // tokens are in custody, data can be fetched
	Failed                  State = "failed"                   // the pass ended without tokens
	ReauthorizationRequired State = "reauthorization_required" // the tokens or the bank's consent are gone; a human is needed
	Erased                  State = "erased"                   // everything of this connection was deleted
)

// States returns all states in the order in which a connection meets them.
func States() []State {
	return []State{Requested, LinkCreated, CallbackReceived, Established, Failed, ReauthorizationRequired, Erased}
}

// Valid reports whether s is one of the states.
func (s State) Valid() bool { return slices.Contains(States(), s) }

// Terminal reports whether no transition leaves s.
func (s State) Terminal() bool { return s.Valid() && len(outgoing(s)) == 0 }

// Transition is one legal move and the occasion on which it is made.
type Transition struct {
	From, To State
	Why      string
}

// Transitions returns the transition table: every legal move, in the order of
// the drawing in docs/state-machine.md, which a test generates from it.
//
// Failed is not a dead end. An unsuccessful callback does not consume the
// state parameter, so a user who cancels, goes back in the browser and approves
// sends a good code for a connection that has already failed; and a connect
// event that finX refused can be redriven after the setting that caused it has
// been mended.
func Transitions() []Transition {
	return []Transition{
		{Requested, LinkCreated, "finX made a widget link"},
		{Requested, Failed, "finX refused the link"},
		{Requested, Erased, "erasure"},
		{LinkCreated, CallbackReceived, "the user approved"},
		{LinkCreated, Failed, "cancelled, unsuccessful or code too old"},
		{LinkCreated, Erased, "erasure"},
		{CallbackReceived, Established, "tokens stored"},
		{CallbackReceived, Failed, "code rejected, too old or outcome unknown"},
		{CallbackReceived, ReauthorizationRequired, "a renewal did not succeed"},
		{CallbackReceived, Erased, "erasure"},
		{Established, CallbackReceived, "renewed before it ran out"},
		{Established, ReauthorizationRequired, "refresh rejected or lost, consent gone"},
		{Established, Erased, "erasure"},
		{Failed, LinkCreated, "connect redriven"},
		{Failed, CallbackReceived, "approved after all"},
		{Failed, Erased, "erasure"},
		{ReauthorizationRequired, CallbackReceived, "renewal link used"},
		{ReauthorizationRequired, Established, "tokens work again"},
		{ReauthorizationRequired, Erased, "erasure"},
	}
}

// outgoing returns the states that from may be left for.
func outgoing(from State) []State {
	var to []State
	for _, t := range Transitions() {
		if t.From == from {
			to = append(to, t.To)
		}
	}
	return to
}

// CanMove reports whether the table has a move between two different states.
func CanMove(from, to State) bool { return slices.Contains(outgoing(from), to) }

// TransitionError is a move that the transition table does not have. It has no
// verdict of its own: whether the event that asked for the move is late, twice
// or wrong is known to the caller only.
type TransitionError struct {
	ID       string // of the connection
	From, To State
}

// Error names the connection and both states.
func (e *TransitionError) Error() string {
	return fmt.Sprintf("connection: moving %s: no transition from %q to %q", e.ID, e.From, e.To)
}
