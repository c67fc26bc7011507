package finx_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// The whole way of a connection against the simulator, with both shapes in which
// finX may refuse a grant.
func TestAConnectionAgainstTheSandbox(t *testing.T) {
	for _, shape := range []finxtest.ErrorShape{finxtest.OAuthErrors, finxtest.FinXErrors} {
		t.Run(string(shape), func(t *testing.T) {
			sandbox, base := finxtest.Start(t, finxtest.Options{ClientID: clientID, ClientSecret: canaryClientSecret, TokenErrors: shape})
			c := newClient(t, base, nil)
			const redirect = "https://app.example/cb"
			link, err := c.CreateAccess(t.Context(), finx.AccessRequest{RedirectURI: redirect, UserID: "u-1", State: "s-1"})
			if err != nil || link.FlowID == "" {
				t.Fatal(link.FlowID, err)
			}
			back, err := sandbox.Approve(link.Location.Reveal())
			if err != nil {
				t.Fatal(err)
			}
			code := secretOf(back.Query().Get("code"))
			tokens, err := c.ExchangeCode(t.Context(), code, redirect)
			if err != nil || tokens.RefreshToken.IsZero() {
				t.Fatal(err)
			}
			accounts, err := c.Accounts(t.Context(), tokens.AccessToken)
			if err != nil || len(accounts) == 0 || accounts[0].SyncedAt == "" || accounts[0].AccessID == "" {
				t.Fatalf("accounts %+q, %v", accounts, err)
			}
			if n := countTransactions(t, c, tokens, accounts[0].ID); n == 0 {
				t.Error("no transactions")
			}
			next, err := c.Refresh(t.Context(), tokens.RefreshToken)
			if err != nil || next.RefreshToken == tokens.RefreshToken {
				t.Fatal("no rotation", err)
			}
			for name, refused := range map[string]func() error{
				"the former refresh token": func() error { _, err := c.Refresh(t.Context(), tokens.RefreshToken); return err },
				"the code once more":       func() error { _, err := c.ExchangeCode(t.Context(), code, redirect); return err },
			} {
				if err := refused(); !errors.Is(err, finx.ErrInvalidGrant) || fault.Of(err) != fault.GiveUp {
					t.Errorf("%s: %v", name, err)
				}
			}
			if err := c.Revoke(t.Context(), next.AccessToken); err != nil {
				t.Error(err)
			}
			if _, err := c.Accounts(t.Context(), next.AccessToken); !errors.Is(err, finx.ErrUnauthorized) {
				t.Errorf("a revoked access token: %v", err)
			}
			stranger := newClient(t, base, func(cfg *finx.Config) { cfg.ClientSecret = secretOf("wrong") })
			if _, err := stranger.Refresh(t.Context(), next.RefreshToken); !errors.Is(err, finx.ErrClientCredentials) {
				t.Errorf("a wrong client secret: %v", err)
			}
		})
	}
}

// countTransactions pages through an account and checks that no page repeats.
func countTransactions(t *testing.T, c *finx.Client, tokens finx.Tokens, account string) (n int) {
	t.Helper()
	const size = 50
	var buf finx.PageBuffer
	seen := map[string]bool{}
	for {
		page, err := c.Transactions(t.Context(), tokens.AccessToken, finx.TransactionQuery{AccountID: account, Count: size, Offset: n, Sort: "asc"}, &buf)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			if !strings.HasPrefix(string(item), "{") || seen[string(item)] {
				t.Fatalf("item %.80s comes twice or is no object", item)
			}
			seen[string(item)] = true
		}
		n += len(page.Items)
		if len(page.Items) < size {
			return n
		}
	}
}
