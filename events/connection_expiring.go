package events

import (
	"time"

	"github.com/finx-connector/finx-connector/internal/secret"
)

// What expires in connection.expiring.
const (
	WhatRefreshToken = "refresh_token"
	WhatBankConsent  = "bank_consent"
)

// ConnectionExpiring warns that a connection will need the user soon.
type ConnectionExpiring struct {
	ConnectionID string      `json:"connection_id"`
	UserID       string      `json:"user_id"`
	What         string      `json:"what"` // WhatRefreshToken or WhatBankConsent
	ExpiresAt    time.Time   `json:"expires_at"`
	DaysLeft     int         `json:"days_left"` // whole days, not below 0
	Location     secret.Text `json:"location"`  // renewal link; zero = none could be made
}

// NewConnectionExpiring makes the event; one a cause, thing that expires and
// time at which it does.
func NewConnectionExpiring(c Cause, d ConnectionExpiring) Output {
	w := openOutputData(nil, d.ConnectionID, d.UserID)
	w.text("what", d.What)
	w.text("expires_at", formatTime(d.ExpiresAt))
	w.number("days_left", d.DaysLeft)
	w.optional("location", d.Location.Reveal())
	return newOutput(TypeConnectionExpiring, c, d.ConnectionID, w.close(),
		c.ID, d.ConnectionID, d.What, formatTime(d.ExpiresAt))
}
