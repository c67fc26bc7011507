package finx

import "context"

// SyncRequest asks for a widget link that syncs known accounts again or renews
// their consent (POST /ongoing/sync); what is zero or nil is not sent.
type SyncRequest struct {
	RedirectURI string   `json:"redirect_uri"`
	UserID      string   `json:"user_id"`
	State       string   `json:"state,omitempty"`
	Language    string   `json:"language,omitempty"`
	AccountIDs  []string `json:"account_ids,omitempty"`
	SyncPeriod  *int     `json:"sync_period,omitempty"` // days
	SaveSecrets *bool    `json:"save_secrets,omitempty"`
}

// CreateSync asks for a renewal link. It is repeated within Config.RetryBudget.
func (c *Client) CreateSync(ctx context.Context, r SyncRequest) (Link, error) {
	return c.createLink(ctx, callCreateSync, "creating renewal link", c.cfg.Paths.Sync, r)
}
