package finx_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

func secretOf(s string) secret.Text { return secret.New(s) }

// apiError makes an accounts call that is answered so.
func apiError(t *testing.T, status int, body string, header ...string) (*finx.APIError, error) {
	t.Helper()
	c := newClient(t, serve(t, answer(status, body, header...)), nil)
	_, err := c.Accounts(t.Context(), secretOf(canaryAccess))
	ae, ok := errors.AsType[*finx.APIError](err)
	if !ok {
		t.Fatalf("no APIError in %v", err)
	}
	return ae, err
}

func TestAPIErrorSaysWhatFinXSaid(t *testing.T) {
	ae, err := apiError(t, 400, `{"error":{"code":1000,"data":{"bank_code":["Not a valid string."],"bad name!":1,"iban":[]},
		"description":"Request body doesn't match input schema.","group":"client"}}`, "X-Request-ID", "req-1")
	wantText := `finx: listing accounts: status 400, code 1000 (client), fields bank_code iban, ` +
		`"Request body doesn't match input schema.", request id req-1`
	if err.Error() != wantText {
		t.Errorf("text\n%s\nwant\n%s", err, wantText)
	}
	if ae.Op != "listing accounts" || ae.Status != 400 || ae.Code != 1000 || ae.Group != "client" || ae.RequestID != "req-1" ||
		!slices.Equal(ae.Fields, []string{"bank_code", "iban"}) {
		t.Errorf("fields %+v", ae)
	}
}

func TestAPIErrorReadsEveryShape(t *testing.T) {
	long := strings.Repeat("ä ", 300)
	tests := map[string]struct {
		body        string
		code        int
		oauth       string
		group       string
		description string
	}{
		"finX":                    {`{"error":{"code":1002,"data":{},"description":"Not Found","group":"client"}}`, 1002, "", "client", "Not Found"},
		"code as string":          {`{"error":{"code":"1002"}}`, 1002, "", "", ""},
		"predecessor":             {`{"error":{"code":null,"group":"unknown","message":"m","name":"n"},"status":400}`, 0, "", "unknown", ""},
		"OAuth":                   {`{"error":"invalid_grant","error_description":"gone"}`, 0, "invalid_grant", "", "gone"},
		"error as free text":      {`{"error":"something else"}`, 0, "", "", "something else"},
		"flat":                    {`{"code":1002,"description":"flat"}`, 0, "", "", "flat"},
		"data as string":          {`{"error":{"data":"x","code":1002}}`, 1002, "", "", ""},
		"data as array":           {`{"error":{"data":[{"a":1}],"code":1002}}`, 1002, "", "", ""},
		"code as object":          {`{"error":{"code":{"n":1},"description":"d"}}`, 0, "", "", "d"},
		"code as fraction":        {`{"error":{"code":1.5}}`, 0, "", "", ""},
		"null error":              {`{"error":null}`, 0, "", "", ""},
		"array":                   {`[1,2]`, 0, "", "", ""},
		"web page":                {`<html>`, 0, "", "", ""},
		"empty":                   {``, 0, "", "", ""},
		"cut off":                 {`{"error":{"code":1002,"description":"half`, 1002, "", "", ""},
		"bank's text is not read": {`{"error":{"message":"Konto 4711 von Max"}}`, 0, "", "", ""},
		"long":                    {`{"error":{"description":"` + long + `"}}`, 0, "", "", strings.Repeat("ä ", 65) + "ä…"},
		"lines and controls":      {`{"error":{"description":"a\nb\u0000\tc\u202ed"}}`, 0, "", "", "a b c d"},
		"group is a name":         {`{"error":{"group":"a b; c"}}`, 0, "", "", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			ae, _ := apiError(t, 409, tc.body)
			got := [4]any{ae.Code, ae.OAuthError, ae.Group, ae.Description}
			if want := [4]any{tc.code, tc.oauth, tc.group, tc.description}; got != want {
				t.Errorf("read %q, want %q", got, want)
			}
			if len(ae.Description) > 200 {
				t.Errorf("description of %d bytes", len(ae.Description))
			}
		})
	}
}

func TestDescriptionIsScrubbed(t *testing.T) {
	tests := map[string]string{
		"token " + canaryAccess + " is unknown":             "token [redacted] is unknown",
		"token AcanaryAccess… is unknown":                   "token [redacted]… is unknown",
		"some other RTfI2zzzzzzzzzzzzzzzz1 token":           "some other [redacted] token",
		"jwt (eyJhbGciOiJIUzI1NiJ9.e30.c2ln) given":         "jwt ([redacted]) given",
		"account DE07900948150000002000 unknown":            "account [redacted] unknown",
		"user demo@example.com is locked":                   "user [redacted] is locked",
		"internationalisation of responsibilities":          "internationalisation of responsibilities",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!": "[redacted]!",
	}
	for said, want := range tests {
		ae, _ := apiError(t, 409, fmt.Sprintf(`{"error":{"description":%q}}`, said))
		if ae.Description != want {
			t.Errorf("%q became %q, want %q", said, ae.Description, want)
		}
	}
}

// A secret that looks like nothing is known by having been sent.
func TestASecretThatLooksLikeAWordIsScrubbed(t *testing.T) {
	c := newClient(t, serve(t, answer(409, `{"error":{"description":"the token open sesame of hunter is unknown"}}`)),
		func(cfg *finx.Config) { cfg.ClientSecret = secretOf("hunter") })
	err := c.Revoke(t.Context(), secretOf("open sesame"))
	if ae, ok := errors.AsType[*finx.APIError](err); !ok || ae.Description != "the token [redacted] of [redacted] is unknown" {
		t.Errorf("got %v", err)
	}
}

// Servers like to name a token by its beginning, and the beginning may be enough
// to find the rest in another log.
func TestBeginningsOfSecretsAreScrubbed(t *testing.T) {
	spellings := []string{
		canaryRefresh, url.QueryEscape(canaryRefresh), url.PathEscape(canaryRefresh),
		base64.StdEncoding.EncodeToString([]byte(canaryRefresh)), base64.StdEncoding.EncodeToString([]byte(clientID + ":" + canaryClientSecret)), canaryClientSecret,
	}
	for _, secret := range spellings {
		for n := 6; n <= len(secret); n++ {
			said, err := json.Marshal("token (" + secret[:n] + "*) unknown to the client, " + secret[:n])
			if err != nil {
				t.Fatal(err)
			}
			c := newClient(t, serve(t, answer(409, `{"error":{"description":`+string(said)+`,"group":"client"}}`)), nil)
			_, err = c.Refresh(t.Context(), secretOf(canaryRefresh))
			ae, ok := errors.AsType[*finx.APIError](err)
			if !ok || ae.Description != "token ([redacted]*) unknown to the client, [redacted]" || ae.Group != "client" {
				t.Errorf("%q became %v", said, err)
			}
		}
	}
}

func TestRequestID(t *testing.T) {
	ae, _ := apiError(t, 409, "", "X-Request-ID", strings.Repeat("x", 65))
	if len(ae.RequestID) != 26 {
		t.Errorf("an absurd id gives %q, want the one that was sent", ae.RequestID)
	}
	ae, _ = apiError(t, 409, "", "X-Request-ID", "id-"+canaryAccess)
	if ae.RequestID != "id-[redacted]" {
		t.Errorf("id %q", ae.RequestID)
	}
}

func TestErrorsAreFoundThroughWrapping(t *testing.T) {
	_, err := apiError(t, 401, "")
	for range 3 {
		err = fmt.Errorf("outer: %w", err)
	}
	if !errors.Is(err, finx.ErrUnauthorized) || fault.Of(err) != fault.Retry {
		t.Errorf("lost in %v", err)
	}
	if _, ok := errors.AsType[*finx.APIError](err); !ok {
		t.Errorf("no APIError in %v", err)
	}
}
