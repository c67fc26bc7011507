package finx_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// TestDiagnosing: what each answer tells of finX and of our credentials.
func TestDiagnosing(t *testing.T) {
	for name, tt := range map[string]struct {
		status    int
		body      string
		header    [2]string
		creds     finx.Told
		isFinX    bool
		standing  string
		throttled bool
	}{
		"the tree":               {200, `{"categories":[]}`, [2]string{}, finx.Accepted, true, "", false},
		"a list":                 {200, `[]`, [2]string{}, finx.Accepted, true, "", false},
		"a large tree":           {200, `{"categories":["` + strings.Repeat("x", 1<<20), [2]string{}, finx.Accepted, true, "", false},
		"a page":                 {200, "<html>", [2]string{}, finx.Untold, false, notFinX, false},
		"nothing":                {204, "", [2]string{}, finx.Untold, false, notFinX, false},
		"elsewhere":              {302, "", [2]string{}, finx.Untold, false, notFinX, false},
		"refused":                {401, `{"error":{"code":1004}}`, [2]string{}, finx.Refused, true, "", false},
		"refused without a word": {401, "", [2]string{}, finx.Refused, false, "", false},
		"refused, asks for it":   {401, "", [2]string{"WWW-Authenticate", "Basic realm=x"}, finx.Refused, true, "", false},
		"refused by OAuth":       {400, `{"error":"invalid_client"}`, [2]string{}, finx.Refused, true, "", false},
		"not for us":             {403, `{"error":{"code":1003}}`, [2]string{}, finx.Untold, true, "", false},
		"forbidden by somebody":  {403, "<html>", [2]string{}, finx.Untold, false, "", false},
		"no such path":           {404, `{"error":{"code":1002}}`, [2]string{}, finx.Untold, true, "", false},
		"not there, somebody":    {404, "<html>", [2]string{}, finx.Untold, false, "", false},
		"a proxy":                {407, "", [2]string{}, finx.Untold, false, notFinX, false},
		"throttled":              {429, "", [2]string{}, finx.Untold, false, "asks to wait", true},
		"broken":                 {500, `{"error":{"code":30000}}`, [2]string{}, finx.Untold, true, "status 500", false},
		"no finX behind":         {502, "", [2]string{}, finx.Untold, false, "status 502", false},
		"down":                   {503, "", [2]string{}, finx.Untold, false, "asks to wait", true},
	} {
		t.Run(name, func(t *testing.T) {
			base := serve(t, answer(tt.status, tt.body, tt.header[0], tt.header[1]))
			d := newClient(t, base, nil).Diagnose(t.Context())
			if d.Err != nil || d.Status != tt.status || d.Stage != "" || d.Latency <= 0 || d.Host != strings.TrimPrefix(base, "http://") {
				t.Fatalf("%+v", d)
			}
			if d.Credentials != tt.creds || d.IsFinX != tt.isFinX || d.Throttled != tt.throttled || !strings.Contains(d.Standing, tt.standing) || (d.Standing == "") != (tt.standing == "") {
				t.Errorf("%+v", d)
			}
			if far := time.Since(d.Date); far < -2*time.Second || far > time.Minute {
				t.Errorf("date %s", d.Date)
			}
			if d.Says != nil {
				noSecretIn(t, d.Says.Error())
			}
		})
	}
}

// TestDiagnosingWithoutAnAnswer names how far it came.
func TestDiagnosingWithoutAnAnswer(t *testing.T) {
	secure := httptest.NewTLSServer(answer(200, `{}`))
	t.Cleanup(secure.Close)
	for name, tt := range map[string]struct{ base, stage, says string }{
		"no such name":    {"https://finx.invalid", "name", "finx.invalid"},
		"nobody listens":  {"http://127.0.0.1:1", "connection", "refused"},
		"strange issuer":  {secure.URL, "TLS", "certificate"},
		"silence":         {serve(t, hang), "answer", "no complete answer within"},
		"cut in the face": {serve(t, func(w http.ResponseWriter, _ *http.Request) { hijack(w, "") }), "answer", "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newClient(t, tt.base, func(c *finx.Config) { c.Timeouts.Accounts = 3 * time.Second }).Diagnose(t.Context())
			if d.Err == nil || d.Status != 0 || d.Stage != tt.stage || !strings.Contains(d.Err.Error(), tt.says) || d.Credentials != finx.Untold {
				t.Errorf("%+v", d)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d := newClient(t, serve(t, hang), nil).Diagnose(ctx); d.Err == nil {
		t.Errorf("%+v", d)
	}
}

func TestDiagnosingThroughAProxy(t *testing.T) {
	proxy := httptest.NewServer(answer(200, `{}`))
	t.Cleanup(proxy.Close)
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	d := newClient(t, "http://127.0.0.1:1", func(c *finx.Config) {
		c.Proxy = func(*http.Request) (*url.URL, error) { return at, nil }
	}).Diagnose(t.Context())
	if d.Err != nil || d.Proxy != at.Host || d.Status != 200 {
		t.Errorf("%+v", d)
	}
}

func TestDiagnosingTheSandbox(t *testing.T) {
	sandbox, base := finxtest.Start(t, finxtest.Options{ClientID: clientID, ClientSecret: canaryClientSecret})
	if d := newClient(t, base, nil).Diagnose(t.Context()); d.Credentials != finx.Accepted || !d.IsFinX {
		t.Errorf("%+v", d)
	}
	stranger := newClient(t, base, func(c *finx.Config) { c.ClientID = "somebody" })
	if d := stranger.Diagnose(t.Context()); d.Credentials != finx.Refused || !d.IsFinX {
		t.Errorf("%+v", d)
	}
	if calls := sandbox.Stats().Calls; len(calls) != 1 || calls["categories"][200] != 1 || calls["categories"][401] != 1 {
		t.Errorf("calls %v", calls)
	}
}
