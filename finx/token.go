package finx

import (
	"context"
	"net/http"
	"time"

	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// Tokens is what the token endpoint hands out.
type Tokens struct {
	AccessToken secret.Text // never zero
	// RefreshToken replaces the one in use; zero means that the answer held none
	// and the one in use stays valid.
	RefreshToken secret.Text
	TokenType    string
	Scope        string
	ExpiresIn    time.Duration // of the access token, from ReceivedAt; 0 = it is dead already
	ReceivedAt   time.Time
}

// ExchangeCode spends an authorization code. redirectURI is the one the link was
// made with; empty is not sent.
//
// The request goes over the wire at most once. An error with the mark Ambiguous
// means that the code may be spent; without it, it is not. errors.Is with
// ErrInvalidGrant: finX refuses the code.
func (c *Client) ExchangeCode(ctx context.Context, code secret.Text, redirectURI string) (Tokens, error) {
	k := call{name: callExchangeCode, doing: "exchanging code", priority: guard.Callback}
	return c.tokens(ctx, k, code, tokenRequest{
		GrantType: "authorization_code", Code: code.Reveal(), RedirectURI: redirectURI,
	})
}

// Refresh spends a refresh token. The request goes over the wire at most once;
// errors are those of ExchangeCode.
func (c *Client) Refresh(ctx context.Context, refreshToken secret.Text) (Tokens, error) {
	k := call{name: callRefresh, doing: "refreshing token", priority: guard.Token}
	return c.tokens(ctx, k, refreshToken, tokenRequest{
		GrantType: "refresh_token", RefreshToken: refreshToken.Reveal(),
	})
}

// tokenRequest holds revealed secrets, so it lives no longer than its call. finX
// wants JSON here, where RFC 6749 has a form.
type tokenRequest struct {
	GrantType    string `json:"grant_type"`
	Code         string `json:"code,omitempty"`
	RedirectURI  string `json:"redirect_uri,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
}

// tokens spends a value: k says as which call.
func (c *Client) tokens(ctx context.Context, k call, spent secret.Text, r tokenRequest) (Tokens, error) {
	var tokens Tokens
	k.auth, k.method, k.path, k.timeout = asGrant, http.MethodPost, c.cfg.Paths.Token, c.cfg.Timeouts.Token
	k.body, k.inBody, k.holds = r, []secret.Text{spent}, memberAccessToken
	err := c.do(ctx, k, func(resp *http.Response) error {
		// What has come before a broken connection may hold both tokens already.
		answer, readErr := appendBody(nil, resp, c.cfg.MaxBodyBytes)
		got, err := decodeTokens(answer)
		if err != nil {
			if readErr != nil {
				return readErr
			}
			return misunderstood(answer, k.holds, err)
		}
		tokens, tokens.ReceivedAt = got, time.Now()
		return nil
	})
	if err != nil {
		return Tokens{}, err
	}
	return tokens, nil
}
