package events

import "time"

// FetchFailed says that a fetch did not come to its end.
type FetchFailed struct {
	ConnectionID string    `json:"connection_id"`
	UserID       string    `json:"user_id"`
	FetchID      string    `json:"fetch_id"`
	Trigger      string    `json:"trigger"`
	Reason       string    `json:"reason"`
	Detail       string    `json:"detail"`   // for humans; must hold no secret
	RetryAt      time.Time `json:"retry_at"` // zero = will not be tried again
}

// NewFetchFailed makes the event; one a fetch, cause and reason.
func NewFetchFailed(c Cause, d FetchFailed) Output {
	w := openOutputData(nil, d.ConnectionID, d.UserID)
	w.text("fetch_id", d.FetchID)
	w.text("trigger", d.Trigger)
	w.text("reason", d.Reason)
	w.optional("detail", d.Detail)
	w.time("retry_at", d.RetryAt)
	return newOutput(TypeFetchFailed, c, d.ConnectionID, w.close(), d.FetchID, c.ID, d.ConnectionID, d.Reason)
}
