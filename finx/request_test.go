package finx_test

import (
	"context"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/finx"
)

// seen is a request as the server got it.
type seen struct{ method, target, auth, contentType, body string }

// record answers everything well and keeps the last request.
func record(t *testing.T) (string, *seen, *http.Header) {
	var last seen
	var header http.Header
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		last = seen{r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(body)}
		header = r.Header.Clone()
		_, _ = io.WriteString(w, `{"location":"https://widget.test/?token=x","id":"f","access_token":"A","accounts":[],"transactions":[]}`)
	})
	return base, &last, &header
}

// wireCase is a call and the request it makes.
type wireCase struct {
	edit func(*finx.Config)
	call func(context.Context, *finx.Client) error
	want seen
}

func clientCalls() map[string]wireCase {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(clientID+":"+canaryClientSecret))
	yes, no, days := true, false, 30
	return map[string]wireCase{
		"access, everything": {nil, func(ctx context.Context, c *finx.Client) error {
			_, err := c.CreateAccess(ctx, finx.AccessRequest{
				RedirectURI: "https://a.test/cb?x=1&y=2", UserID: "u", State: "s", TrackingID: "t", Language: "de", ProviderID: "p",
				Accounts: []finx.AccountRef{{ID: "DE1"}}, AccountTypes: []string{"Giro account"},
				AllowMultiSelection: &no, SyncPeriod: &days, SaveSecrets: &yes,
			})
			return err
		}, seen{"POST", "/ongoing/access", basic, "application/json", `{"redirect_uri":"https://a.test/cb?x=1\u0026y=2","user_id":"u","state":"s",` +
			`"tracking_id":"t","language":"de","provider_id":"p","accounts":[{"id":"DE1"}],"account_types":["Giro account"],` +
			`"allow_multi_selection":false,"sync_period":30,"save_secrets":true}`}},
		"access, what is absent is not sent": {nil, func(ctx context.Context, c *finx.Client) error {
			_, err := c.CreateAccess(ctx, finx.AccessRequest{RedirectURI: "https://a.test/cb", UserID: "u"})
			return err
		}, seen{"POST", "/ongoing/access", basic, "application/json", `{"redirect_uri":"https://a.test/cb","user_id":"u"}`}},
		"sync": {nil, func(ctx context.Context, c *finx.Client) error {
			_, err := c.CreateSync(ctx, finx.SyncRequest{RedirectURI: "https://a.test/cb", UserID: "u", State: "s", AccountIDs: []string{"A1.2"}, SaveSecrets: &no})
			return err
		}, seen{"POST", "/ongoing/sync", basic, "application/json", `{"redirect_uri":"https://a.test/cb","user_id":"u","state":"s","account_ids":["A1.2"],"save_secrets":false}`}},
		"exchange": {nil, func(ctx context.Context, c *finx.Client) error {
			_, err := c.ExchangeCode(ctx, secretOf(canaryCode), "https://a.test/cb")
			return err
		}, seen{"POST", "/auth/token", basic, "application/json", `{"grant_type":"authorization_code","code":"` + canaryCode + `","redirect_uri":"https://a.test/cb"}`}},
		"exchange without redirect": {nil, func(ctx context.Context, c *finx.Client) error {
			_, err := c.ExchangeCode(ctx, secretOf("c"), "")
			return err
		}, seen{"POST", "/auth/token", basic, "application/json", `{"grant_type":"authorization_code","code":"c"}`}},
		"refresh": {nil, func(ctx context.Context, c *finx.Client) error {
			_, err := c.Refresh(ctx, secretOf("r"))
			return err
		}, seen{"POST", "/auth/token", basic, "application/json", `{"grant_type":"refresh_token","refresh_token":"r"}`}},
		"revoke": {
			nil, func(ctx context.Context, c *finx.Client) error { return c.Revoke(ctx, secretOf("r")) },
			seen{"POST", "/auth/revoke", basic, "application/json", `{"token":"r"}`},
		},
	}
}

func userCalls() map[string]wireCase {
	bearer := "Bearer " + canaryAccess
	query := finx.TransactionQuery{
		AccountID: "A1/2 ü.3", Count: 5, Offset: 10, Since: "2026-01-01", Until: "2026-02-01",
		SinceType: "created", Sort: "asc", IncludePending: true,
	}
	return map[string]wireCase{
		"accounts": {nil, func(ctx context.Context, c *finx.Client) error {
			_, err := c.Accounts(ctx, secretOf(canaryAccess))
			return err
		}, seen{"GET", "/rest/accounts", bearer, "", ""}},
		"accounts below a prefix with a slash": {
			func(cfg *finx.Config) { cfg.BaseURL += "/proxy/"; cfg.Paths.Accounts = "/rest/accounts/" },
			func(ctx context.Context, c *finx.Client) error {
				_, err := c.Accounts(ctx, secretOf(canaryAccess))
				return err
			},
			seen{"GET", "/proxy/rest/accounts/", bearer, "", ""},
		},
		"transactions, everything": {
			nil, transactions(query),
			seen{"GET", "/rest/accounts/A1%2F2%20%C3%BC.3/transactions?count=5&include_pending=true&offset=10&since=2026-01-01&since_type=created&sort=asc&until=2026-02-01", bearer, "", ""},
		},
		"transactions, defaults": {
			nil, transactions(finx.TransactionQuery{AccountID: "A1.2"}),
			seen{"GET", "/rest/accounts/A1.2/transactions?count=1000&offset=0", bearer, "", ""},
		},
		"transactions by query": {
			func(cfg *finx.Config) { cfg.Paths.Transactions = "/rest/transactions"; cfg.PageSize = 7 },
			transactions(finx.TransactionQuery{AccountID: "A1.2"}),
			seen{"GET", "/rest/transactions?accounts=A1.2&count=7&offset=0", bearer, "", ""},
		},
	}
}

func TestRequestsOnTheWire(t *testing.T) {
	tests := clientCalls()
	maps.Copy(tests, userCalls())
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			base, last, header := record(t)
			if err := tc.call(t.Context(), newClient(t, base, tc.edit)); err != nil {
				t.Fatal(err)
			}
			if *last != tc.want {
				t.Errorf("sent\n%+v\nwant\n%+v", *last, tc.want)
			}
			if got := header.Get("User-Agent"); got != "finx-connector" {
				t.Errorf("user agent %q", got)
			}
			if header.Get("Accept") != "application/json" || len(header.Get("X-Request-ID")) != 26 {
				t.Errorf("headers %v", *header)
			}
		})
	}
}

func transactions(q finx.TransactionQuery) func(context.Context, *finx.Client) error {
	return func(ctx context.Context, c *finx.Client) error {
		_, err := c.Transactions(ctx, secretOf(canaryAccess), q, new(finx.PageBuffer))
		return err
	}
}

// An account id can neither be empty nor climb out of its place in the path.
func TestTransactionsRefusesAnIDThatIsNone(t *testing.T) {
	c := newClient(t, "http://127.0.0.1:1", nil)
	for _, id := range []string{"", ".", ".."} {
		err := transactions(finx.TransactionQuery{AccountID: id})(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), "account id") {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	tests := map[string]func(*finx.Config){
		"BaseURL":           func(c *finx.Config) { c.BaseURL = "finx.test" },
		"BaseURL: ":         func(c *finx.Config) { c.BaseURL = "" },
		"BaseURL: must":     func(c *finx.Config) { c.BaseURL = "ftp://finx.test" },
		"https, or http on": func(c *finx.Config) { c.BaseURL = "http://finx.test" },
		"on loopback":       func(c *finx.Config) { c.BaseURL = "http://localhost.finx.test" },
		"query":             func(c *finx.Config) { c.BaseURL = "https://finx.test/?a=b" },
		"ClientID":          func(c *finx.Config) { c.ClientID = "" },
		"colon":             func(c *finx.Config) { c.ClientID = "a:b" },
		"ClientSecret":      func(c *finx.Config) { c.ClientSecret = secretOf("") },
		"Paths.Token":       func(c *finx.Config) { c.Paths.Token = "auth/token" },
		"Paths.Accounts":    func(c *finx.Config) { c.Paths.Accounts = "/a?b" },
		"PageSize":          func(c *finx.Config) { c.PageSize = -1 },
		"MaxBodyBytes":      func(c *finx.Config) { c.MaxBodyBytes = -1 },
		"Timeouts.Token":    func(c *finx.Config) { c.Timeouts.Token = -1 },
		"ThrottleDefault":   func(c *finx.Config) { c.ThrottleDefault = -1 },
		"MaxIdlePerHost: m": func(c *finx.Config) { c.MaxIdlePerHost = -1 },
	}
	for want, edit := range tests {
		cfg := finx.Config{BaseURL: "https://finx.test", ClientID: "c", ClientSecret: secretOf("s")}
		if _, err := finx.New(cfg); err != nil {
			t.Fatal(err)
		}
		edit(&cfg)
		if _, err := finx.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named in %v", want, err)
		}
	}
	for base, allow := range map[string]bool{"http://localhost:1": false, "http://127.0.0.2": false, "http://[::1]:1": false, "http://finx.test": true} {
		if _, err := finx.New(finx.Config{BaseURL: base, AllowHTTP: allow, ClientID: "c", ClientSecret: secretOf("s")}); err != nil {
			t.Errorf("%s: %v", base, err)
		}
	}
}
