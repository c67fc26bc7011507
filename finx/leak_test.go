package finx_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/finx"
)

// leaksNothing fails when a canary secret, or half of one, shows in any text that
// a caller could make of err: its own, that of its APIError, its log line.
func leaksNothing(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error to look at")
		return
	}
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Error("settled", "error", err)
	texts := []string{err.Error(), fmt.Sprintf("%v %+v %q", err, err, err), logged.String()}
	if ae, ok := errors.AsType[*finx.APIError](err); ok {
		texts = append(texts, fmt.Sprintf("%#v %+v", *ae, *ae))
	}
	for _, text := range texts {
		for _, secret := range canaries() {
			for _, form := range []string{
				secret, secret[:len(secret)/2+4], url.QueryEscape(secret),
				base64.StdEncoding.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(clientID + ":" + secret)),
			} {
				if strings.Contains(text, form) {
					t.Fatalf("%q shows in %q", form, text)
				}
			}
		}
	}
}

// echo answers with everything it was sent and more, in every place of an answer.
func echo(status int, shape string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		all := strings.Join(append(canaries(), string(body), r.Header.Get("Authorization"), r.URL.String()), " ")
		// An id cannot be judged by its looks; what was sent is still taken out of it.
		_, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		w.Header().Set("X-Request-ID", "id:"+credential)
		w.Header().Set("WWW-Authenticate", all)
		w.Header().Set("Location", "https://elsewhere.test/?token="+canaryJWT)
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, shape, all)
	}
}

func TestNoFailureLeaksASecret(t *testing.T) {
	shapes := []string{
		`{"error":{"code":1000,"description":%q,"group":"client"}}`,
		`{"error":{"code":1000,"data":{%q:["x"]},"group":"` + canaryAccess + `","name":"` + canaryAccess + `"}}`,
		`{"error":%q,"error_description":"` + canaryNewAccess + `"}`,
		`{"error":"invalid_grant","error_description":%q}`,
		`{"location":"javascript:` + canaryJWT + `","id":%q}`,
		`{"location":"http://\u007f` + canaryJWT + `","id":%q}`,
		`{"access_token":"","refresh_token":"` + canaryNewRefresh + `","x":%q}`,
		`{"access_token":"` + canaryNewAccess + `","x":"` + canaryNewRefresh + `%s`,
		`{"` + canaryNewAccess + `":%q`,
		`{"accounts":[{"account_id":{},"x":%q}]}`,
		`{"transactions":[%q]}`,
		`<html>%s</html>`,
		canaryNewAccess + ` %s`,
	}
	for _, status := range []int{200, 302, 400, 401, 403, 404, 423, 429, 500, 503} {
		for _, shape := range shapes {
			c := newClient(t, serve(t, echo(status, shape)), nil)
			for _, kind := range callers() {
				if status == 200 && kind.name == "revoke" {
					continue
				}
				leaksNothing(t, kind.call(t.Context(), c))
			}
		}
	}
}

func TestNoSettingErrorLeaksASecret(t *testing.T) {
	cfg := finx.Config{BaseURL: "https://user:" + canaryClientSecret + "@finx.test", ClientID: clientID, ClientSecret: secretOf(canaryClientSecret)}
	_, err := finx.New(cfg)
	leaksNothing(t, err)
	cfg.BaseURL = "https://finx.test/%zz" + canaryClientSecret
	_, err = finx.New(cfg)
	leaksNothing(t, err)
	if text := fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg.ClientSecret); strings.Contains(strings.ReplaceAll(text, cfg.BaseURL, ""), canaryClientSecret) {
		t.Errorf("the configuration prints its secret: %s", text)
	}
}
