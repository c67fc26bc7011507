package events

// Reasons of connection.failed.
const (
	ReasonCancelled              = "cancelled"                // the user cancelled in the widget
	ReasonUnsuccessful           = "unsuccessful"             // the widget ended without success
	ReasonLinkRejected           = "link_rejected"            // finX refused to make the link
	ReasonCodeExpired            = "code_expired"             // the callback came too late
	ReasonCodeRejected           = "code_rejected"            // finX refused the code
	ReasonExchangeOutcomeUnknown = "exchange_outcome_unknown" // no answer, and asking again did not help
)

// ConnectionFailed says that a connection will not come about.
type ConnectionFailed struct {
	ConnectionID string `json:"connection_id"`
	UserID       string `json:"user_id"`
	State        string `json:"state"`
	Reason       string `json:"reason"` // one of the Reason constants above
	Detail       string `json:"detail"` // for humans; must hold no secret
}

// NewConnectionFailed makes the event; one a cause, connection and reason.
func NewConnectionFailed(c Cause, d ConnectionFailed) Output {
	w := openOutputData(nil, d.ConnectionID, d.UserID)
	w.text("state", d.State)
	w.text("reason", d.Reason)
	w.optional("detail", d.Detail)
	return newOutput(TypeConnectionFailed, c, d.ConnectionID, w.close(), c.ID, d.ConnectionID, d.Reason)
}
