package events

import "time"

// ConnectionEstablished says that the tokens of a connection are stored.
type ConnectionEstablished struct {
	ConnectionID  string    `json:"connection_id"`
	UserID        string    `json:"user_id"`
	State         string    `json:"state"`
	Scope         string    `json:"scope"` // as finX granted it, space-delimited
	EstablishedAt time.Time `json:"established_at"`
}

// NewConnectionEstablished makes the event; one a callback and connection.
func NewConnectionEstablished(c Cause, d ConnectionEstablished) Output {
	w := openOutputData(nil, d.ConnectionID, d.UserID)
	w.text("state", d.State)
	w.text("scope", d.Scope)
	w.text("established_at", formatTime(d.EstablishedAt))
	return newOutput(TypeConnectionEstablished, c, d.ConnectionID, w.close(), c.ID, d.ConnectionID)
}
