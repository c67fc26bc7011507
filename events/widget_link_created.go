package events

import "github.com/finx-connector/finx-connector/internal/secret"

// WidgetLinkCreated hands out the link to send the user to.
type WidgetLinkCreated struct {
	ConnectionID string      `json:"connection_id"`
	UserID       string      `json:"user_id"`
	State        string      `json:"state"`
	Location     secret.Text `json:"location"`    // whoever has it can connect as the user
	FlowID       string      `json:"flow_id"`     // "" = finX gave none
	TrackingID   string      `json:"tracking_id"` // "" = upstream gave none
}

// NewWidgetLinkCreated makes the event; one a request. A request that a crash
// made the connector handle twice has two links at finX and one event: whoever
// drops repeated ids keeps the first link, which works.
func NewWidgetLinkCreated(c Cause, d WidgetLinkCreated) Output {
	w := openOutputData(nil, d.ConnectionID, d.UserID)
	w.text("state", d.State)
	w.text("location", d.Location.Reveal()) // the one place where a link is handed out
	w.optional("flow_id", d.FlowID)
	w.optional("tracking_id", d.TrackingID)
	return newOutput(TypeWidgetLinkCreated, c, d.ConnectionID, w.close(), c.ID, d.ConnectionID)
}
