package finx_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// The canary secrets: whatever else happens, none of them may show up in a text.
const (
	canaryClientSecret = "canary-client-secret-7f3a91"
	canaryCode         = "eyJhbGciOiJIUzI1NiJ9.canary-code-55.c2lnbmF0dXJl"
	canaryRefresh      = "RcanaryRefresh+/=&?\"0815"
	canaryAccess       = "AcanaryAccessToken4711"
	canaryNewAccess    = "AcanaryNewAccess4712"
	canaryNewRefresh   = "RcanaryNewRefresh4713"
	canaryJWT          = "eyJ0eXAiOiJKV1QifQ.canary-location-99.c2ln"
	clientID           = "client-7"
)

func canaries() []string {
	return []string{canaryClientSecret, canaryCode, canaryRefresh, canaryAccess, canaryNewAccess, canaryNewRefresh, canaryJWT}
}

// caller makes one kind of call.
type caller struct {
	name  string
	token bool // spends a code or refresh token
	user  bool // Bearer
	call  func(context.Context, *finx.Client) error
}

func callers() []caller {
	access, code, refresh := secret.New(canaryAccess), secret.New(canaryCode), secret.New(canaryRefresh)
	return []caller{
		{name: "create access", call: func(ctx context.Context, c *finx.Client) error {
			_, err := c.CreateAccess(ctx, finx.AccessRequest{RedirectURI: "https://app.example/cb", UserID: "u1"})
			return err
		}},
		{name: "create sync", call: func(ctx context.Context, c *finx.Client) error {
			_, err := c.CreateSync(ctx, finx.SyncRequest{RedirectURI: "https://app.example/cb", UserID: "u1"})
			return err
		}},
		{name: "revoke", call: func(ctx context.Context, c *finx.Client) error { return c.Revoke(ctx, refresh) }},
		{name: "exchange code", token: true, call: func(ctx context.Context, c *finx.Client) error {
			_, err := c.ExchangeCode(ctx, code, "https://app.example/cb")
			return err
		}},
		{name: "refresh", token: true, call: func(ctx context.Context, c *finx.Client) error {
			_, err := c.Refresh(ctx, refresh)
			return err
		}},
		{name: "accounts", user: true, call: func(ctx context.Context, c *finx.Client) error {
			_, err := c.Accounts(ctx, access)
			return err
		}},
		{name: "transactions", user: true, call: func(ctx context.Context, c *finx.Client) error {
			_, err := c.Transactions(ctx, access, finx.TransactionQuery{AccountID: "A1.2"}, new(finx.PageBuffer))
			return err
		}},
	}
}

// newClient returns a client of base that makes one attempt a call unless edit
// says otherwise.
func newClient(t testing.TB, base string, edit func(*finx.Config)) *finx.Client {
	t.Helper()
	cfg := finx.Config{BaseURL: base, AllowHTTP: true, ClientID: clientID, ClientSecret: secret.New(canaryClientSecret), RetryBudget: -1}
	if edit != nil {
		edit(&cfg)
	}
	c, err := finx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

// serve starts a server that answers every request with h.
func serve(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// answer is a handler that always says the same.
func answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}
