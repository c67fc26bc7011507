package finx

import "context"

// AccessRequest asks for a widget link that connects a bank. Field names and
// meanings are finX's (POST /ongoing/access); what is zero or nil is not sent.
type AccessRequest struct {
	RedirectURI         string       `json:"redirect_uri"`
	UserID              string       `json:"user_id"`
	State               string       `json:"state,omitempty"`
	TrackingID          string       `json:"tracking_id,omitempty"`
	Language            string       `json:"language,omitempty"`
	ProviderID          string       `json:"provider_id,omitempty"`
	Accounts            []AccountRef `json:"accounts,omitempty"`
	AccountTypes        []string     `json:"account_types,omitempty"`
	AllowMultiSelection *bool        `json:"allow_multi_selection,omitempty"`
	SyncPeriod          *int         `json:"sync_period,omitempty"` // days
	SaveSecrets         *bool        `json:"save_secrets,omitempty"`
}

// AccountRef preselects an account by IBAN, account number or card number.
type AccountRef struct {
	ID string `json:"id"`
}

// CreateAccess asks for a widget link. It is repeated within Config.RetryBudget.
func (c *Client) CreateAccess(ctx context.Context, r AccessRequest) (Link, error) {
	return c.createLink(ctx, callCreateAccess, "creating widget link", c.cfg.Paths.Access, r)
}
