package finxtest

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestControlEndpoints(t *testing.T) {
	s, c := start(t, Options{})
	ok := func(method, path string, body any) answer {
		t.Helper()
		return c.call(http.StatusOK, method, "/_sandbox/"+path, "", body)
	}
	ok("POST", "users", `{"user_id":"u1","accounts":2,"transactions":11,"pending":1,"empty_accounts":1}`)
	l := c.link("/ongoing/access", accessBody())
	var approved struct{ Redirect string }
	ok("POST", "approve", map[string]string{"location": l.Location, "action": "approve", "bank": "demobank"}).decode(t, &approved)
	u, err := url.Parse(approved.Redirect)
	if err != nil || u.Query().Get("success") != "true" {
		t.Fatalf("redirect %q, %v", approved.Redirect, err)
	}
	tk := c.tokens(exchangeBody(u.Query().Get("code")))
	if n := len(c.list(tk.AccessToken, "include_pending", 1)); n != 12 {
		t.Errorf("%d transactions, want 12", n)
	}
	ok("POST", "grow", `{"user_id":"u1","account":0,"transactions":4}`)
	if n := len(c.list(tk.AccessToken)); n != 15 {
		t.Errorf("%d transactions after growing, want 15", n)
	}

	ok("POST", "faults", `{"call":"accounts","nth":2,"status":429,"retry_after":3,"delay":"1ms"}`)
	c.call(200, "GET", "/rest/accounts", tk.AccessToken, nil)
	if a := c.call(429, "GET", "/rest/accounts", tk.AccessToken, nil); a.header.Get("Retry-After") != "3" {
		t.Errorf("headers %v", a.header)
	}
	var faults struct{ Faults []Fault }
	ok("GET", "faults", nil).decode(t, &faults)
	if len(faults.Faults) != 1 || faults.Faults[0].Hits != 1 || faults.Faults[0].Seen != 2 || faults.Faults[0].Delay != Duration(time.Millisecond) {
		t.Errorf("faults %+v", faults)
	}
	ok("DELETE", "faults", nil)
	if len(s.Faults()) != 0 {
		t.Error("faults not cleared")
	}

	var st Stats
	ok("GET", "stats", nil).decode(t, &st)
	if st.CodesExchanged != 1 || st.Calls["accounts"][429] != 1 || st.Paths["GET /rest/accounts"][200] != 1 || st.Paths["POST /auth/token"][200] != 1 {
		t.Errorf("stats %+v", st)
	}
	var clock struct{ Offset Duration }
	ok("POST", "clock", `{"advance":"90d"}`).decode(t, &clock)
	if clock.Offset != Duration(90*day) || c.alive(tk.AccessToken) {
		t.Errorf("offset %v", clock.Offset)
	}
	ok("POST", "revoke", `{"user_id":"u1"}`)
	c.refused(refreshBody(tk.RefreshToken))
	ok("POST", "reset", nil)
	ok("GET", "clock", nil).decode(t, &clock)
	if clock.Offset != 0 || s.Stats().LinksCreated != 0 {
		t.Error("reset left something")
	}
	c.refused(exchangeBody(u.Query().Get("code")))
}

func TestControlRefusals(t *testing.T) {
	_, c := start(t, Options{})
	for body, path := range map[string]string{
		`{"call":"nope","status":500}`: "faults", `{"call":"*","statsu":500}`: "faults", `{"advance":"-1h"}`: "clock", `{"advance":"soon"}`: "clock",
		`{"user_id":"","accounts":1}`: "users", `{"user_id":"u","accounts":-1}`: "users", `{"user_id":"u"}`: "grow", `not json`: "users",
	} {
		var e struct{ Error string }
		c.call(http.StatusBadRequest, "POST", "/_sandbox/"+path, "", body).decode(t, &e)
		if e.Error == "" {
			t.Errorf("%s %s: no reason", path, body)
		}
	}
	c.call(http.StatusNotFound, "POST", "/_sandbox/approve", "", `{"location":"http://x/widget/?token=secret-token"}`)
	c.call(http.StatusNotFound, "POST", "/_sandbox/nothing", "", `{}`)
	l := c.link("/ongoing/access", accessBody())
	for _, wrong := range []string{`"action":"nod"`, `"bank":"Sparkasse"`} {
		c.call(http.StatusBadRequest, "POST", "/_sandbox/approve", "", `{"location":"`+l.Location+`",`+wrong+`}`)
	}
}

func TestControlsAreForLoopback(t *testing.T) {
	for _, tt := range []struct {
		name, remote, site string
		open               bool
		want               int
	}{
		{"another machine", "192.0.2.7:5", "", false, http.StatusForbidden},
		{"another machine, opened", "192.0.2.7:5", "", true, http.StatusOK},
		{"loopback", "127.0.0.1:5", "", false, http.StatusOK},
		{"loopback 6", "[::1]:5", "", false, http.StatusOK},
		{"another site's page", "127.0.0.1:5", "cross-site", false, http.StatusForbidden},
	} {
		s := New(Options{ControlFromAnywhere: tt.open})
		r := httptest.NewRequest(http.MethodPost, "/_sandbox/reset", nil)
		r.RemoteAddr = tt.remote
		if tt.site != "" {
			r.Header.Set("Sec-Fetch-Site", tt.site)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s: status %d, want %d", tt.name, w.Code, tt.want)
		}
	}
}

func TestLogHasNoSecret(t *testing.T) {
	var log bytes.Buffer
	s := New(Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	srv := httptest.NewServer(s)
	c := newClient(t, srv.URL)
	l := c.link("/ongoing/access", accessBody("state", "canary-state"))
	u, err := s.Approve(l.Location)
	if err != nil {
		t.Fatal(err)
	}
	code := u.Query().Get("code")
	tk := c.tokens(exchangeBody(code))
	c.alive(tk.AccessToken)
	c.call(http.StatusOK, "GET", "/auth/revoke?token="+tk.RefreshToken, "", nil)
	c.call(http.StatusNotFound, "GET", "/rest/"+tk.RefreshToken, tk.AccessToken, nil)
	widgetToken := l.Location[strings.Index(l.Location, "token=")+6:]
	srv.Close() // waits for the handlers, and so for their log lines
	text := log.String()
	if strings.Count(text, "\n") < 4 || !strings.Contains(text, `"call":"token.exchange"`) {
		t.Fatalf("log: %s", text)
	}
	for name, secret := range map[string]string{
		"code": code, "access token": tk.AccessToken, "refresh token": tk.RefreshToken,
		"widget token": widgetToken, "client secret": "sandbox-secret", "state": "canary-state",
	} {
		if strings.Contains(text, secret) {
			t.Errorf("the log has the %s", name)
		}
	}
}

func TestDurationsInJSON(t *testing.T) {
	for text, want := range map[string]time.Duration{`"1m30s"`: 90 * time.Second, `"2d"`: 2 * day, `"0s"`: 0} {
		var d Duration
		if err := json.Unmarshal([]byte(text), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", text, time.Duration(d), err)
		}
	}
	for _, text := range []string{`"-1d"`, `"1.5d"`, `"x"`, `5`, `"99999999d"`} {
		var d Duration
		if json.Unmarshal([]byte(text), &d) == nil {
			t.Errorf("%s: accepted", text)
		}
	}
}
