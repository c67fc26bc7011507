package finx

import (
	"context"
	"net/http"

	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// Revoke ends a token, access or refresh, at once. It is repeated within
// Config.RetryBudget: revoking twice is revoking.
//
// The predecessor's SDKs disagree: one sends GET with the token in the query, one
// POST with a JSON body. POST it is; a query ends up in access logs.
func (c *Client) Revoke(ctx context.Context, token secret.Text) error {
	k := call{
		name: callRevoke, doing: "revoking token", auth: asClient,
		method: http.MethodPost, path: c.cfg.Paths.Revoke, timeout: c.cfg.Timeouts.Revoke,
		body: map[string]string{"token": token.Reveal()}, inBody: []secret.Text{token},
		priority: guard.Token,
	}
	return c.repeat(ctx, k.name, func(ctx context.Context) error {
		return c.do(ctx, k, func(*http.Response) error { return nil })
	})
}
