package events

import "github.com/finx-connector/finx-connector/internal/secret"

// Reasons of connection.reauthorization.required.
const (
	ReasonRefreshRejected        = "refresh_rejected"
	ReasonRotationOutcomeUnknown = "rotation_outcome_unknown"
	ReasonConsentExpired         = "consent_expired"
	ReasonAccessRevoked          = "access_revoked"
)

// ReauthorizationRequired says that a connection is dead until the user has
// been through the widget again.
type ReauthorizationRequired struct {
	ConnectionID string      `json:"connection_id"`
	UserID       string      `json:"user_id"`
	Reason       string      `json:"reason"`   // one of the Reason constants above
	Location     secret.Text `json:"location"` // renewal link; zero = none could be made
}

// NewReauthorizationRequired makes the event; one a cause, connection and
// reason, whichever link it carries.
func NewReauthorizationRequired(c Cause, d ReauthorizationRequired) Output {
	w := openOutputData(nil, d.ConnectionID, d.UserID)
	w.text("reason", d.Reason)
	w.optional("location", d.Location.Reveal())
	return newOutput(TypeReauthorizationRequired, c, d.ConnectionID, w.close(),
		c.ID, d.ConnectionID, d.Reason)
}
