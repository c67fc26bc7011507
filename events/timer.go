package events

import "time"

// Timer is an event for later. It waits on one subject of the timers stream, and
// the broker moves it to another when it is due. The subjects are without prefix
// (see Codec.Subject) and end with the connection id.
type Timer struct {
	ConnectionID string
	At           time.Time // UTC, a whole second: the broker keeps no finer time
	WaitsOn      string
	DueOn        string
	Body         []byte // the event that becomes due, as structured CloudEvents JSON
}

// NewSyncTimer returns the timer that asks for a sync of a connection at the
// first whole second that is not before at. The id of the event is the same for
// the same connection and time.
func NewSyncTimer(connectionID string, at time.Time, r SyncRequested) (Timer, error) {
	t := newTimer(connectionID, at, SubjectTimerSync, SubjectDueSync)
	return t.of(TypeSyncRequested, "timer", r)
}

// NewKeepAliveTimer returns the timer that asks for a rotation of a connection's
// refresh token, otherwise as NewSyncTimer.
func NewKeepAliveTimer(connectionID string, at time.Time) (Timer, error) {
	t := newTimer(connectionID, at, SubjectTimerKeepAlive, SubjectDueKeepAlive)
	return t.of(TypeKeepAliveDue, "keepalive", KeepAliveDue{ConnectionID: connectionID})
}

// newTimer rounds up, because a client would round down and be early.
func newTimer(connectionID string, at time.Time, waits, due string) Timer {
	return Timer{
		ConnectionID: connectionID, At: at.Add(time.Second - time.Nanosecond).Truncate(time.Second).UTC(),
		WaitsOn: waits + "." + connectionID, DueOn: due + "." + connectionID,
	}
}

// of gives the timer its event. kind keeps the ids of the kinds apart.
func (t Timer) of(typ, kind string, data any) (Timer, error) {
	id := UUIDv5(kind, t.ConnectionID, t.At.Format(time.RFC3339))
	body, err := EncodeInput(typ, id, t.At, Cause{}, data)
	if err != nil {
		return Timer{}, err
	}
	t.Body = body
	return t, nil
}
