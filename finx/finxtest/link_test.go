package finxtest

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLinkFields(t *testing.T) {
	postman := map[string]any{"save_secrets": "false", "sync_period": "90", "account_types": []any{map[string]string{"type": "Giro account"}}}
	for _, tt := range []struct {
		name   string
		strict bool
		change map[string]any // a nil value removes the field
		bad    []string
	}{
		{"all fields", true, map[string]any{
			"tracking_id": "t", "language": "es", "provider_id": findBank("Mockbank").ID, "accounts": []any{map[string]string{"id": "DE07900948150000002000"}},
			"account_types": []string{"Giro account"}, "allow_multi_selection": false, "sync_period": 365, "save_secrets": true,
		}, nil},
		{"postman's strings", false, postman, nil},
		{"postman's strings, strict", true, postman, []string{"account_types", "save_secrets", "sync_period"}},
		{"null is absent", false, map[string]any{"state": any(nil)}, nil},
		{"unknown field", false, map[string]any{"x": 1}, nil},
		{"unknown field, strict", true, map[string]any{"x": 1}, []string{"x"}},
		{"missing", false, map[string]any{"redirect_uri": nil, "user_id": nil}, []string{"redirect_uri", "user_id"}},
		{"empty", false, map[string]any{"redirect_uri": "", "user_id": ""}, []string{"redirect_uri", "user_id"}},
		{
			"wrong types", false,
			map[string]any{"redirect_uri": 1, "user_id": true, "state": 7, "sync_period": "x", "save_secrets": "maybe", "accounts": "x", "account_types": 3, "allow_multi_selection": 2},
			[]string{"account_types", "accounts", "allow_multi_selection", "redirect_uri", "save_secrets", "state", "sync_period", "user_id"},
		},
		{"not a URL", false, map[string]any{"redirect_uri": "/relative"}, []string{"redirect_uri"}},
		{"script URL", false, map[string]any{"redirect_uri": "javascript:alert(1)"}, []string{"redirect_uri"}},
		{"own scheme", false, map[string]any{"redirect_uri": "myapp:/callback"}, nil},
		{"language", false, map[string]any{"language": "pl"}, []string{"language"}},
		{"provider", false, map[string]any{"provider_id": "7"}, []string{"provider_id"}},
		{"account without id", false, map[string]any{"accounts": []any{map[string]string{}}}, []string{"accounts"}},
		{"state of 1024", false, map[string]any{"state": strings.Repeat("ß", 1024)}, nil},
		{"state of 1025", false, map[string]any{"state": strings.Repeat("s", 1025)}, []string{"state"}},
		{"empty state", false, map[string]any{"state": ""}, []string{"state"}},
		{"zero days", false, map[string]any{"sync_period": 0}, []string{"sync_period"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c := start(t, Options{StrictTypes: tt.strict})
			body := accessBody()
			for k, v := range tt.change {
				if body[k] = v; v == nil {
					delete(body, k)
				}
			}
			if tt.bad == nil {
				l := c.link("/ongoing/access", body)
				u, err := s.Approve(l.Location)
				if want, given := body["state"].(string); err != nil || (given && u.Query().Get("state") != want) {
					t.Errorf("%v, %v", u, err)
				}
				return
			}
			a := c.call(http.StatusBadRequest, "POST", "/ongoing/access", "", body)
			code, group, fields := a.finxError(t)
			slices.Sort(fields)
			if code != 1000 || group != "client" || !slices.Equal(fields, tt.bad) {
				t.Errorf("code %d, group %s, fields %v, want %v", code, group, fields, tt.bad)
			}
		})
	}
}

func TestLinkRefusals(t *testing.T) {
	_, c := start(t, Options{})
	request := func(method, contentType, secret, language, body string) answer {
		req, _ := http.NewRequestWithContext(t.Context(), method, c.base+"/ongoing/access", strings.NewReader(body))
		req.Header.Set("Content-Type", contentType)
		req.Header.Set("Accept-Language", language)
		req.SetBasicAuth("sandbox", secret)
		a, err := c.send(req)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	good := `{"redirect_uri":"http://localhost","user_id":"u"}`
	for _, tt := range []struct {
		name         string
		a            answer
		status, code int
	}{
		{"good", request("POST", "application/json; charset=utf-8", "sandbox-secret", "pl, de;q=0.5", good), 201, 0},
		{"wrong secret", request("POST", "application/json", "wrong", "", good), 401, 1004},
		{"form", request("POST", "application/x-www-form-urlencoded", "sandbox-secret", "", "user_id=u"), 400, 1000},
		{"not JSON", request("POST", "application/json", "sandbox-secret", "", "{"), 400, 1000},
		{"an array", request("POST", "application/json", "sandbox-secret", "", "[]"), 400, 1000},
		{"too large", request("POST", "application/json", "sandbox-secret", "", `{"user_id":"`+strings.Repeat("x", 2<<20)+`"}`), 400, 1000},
		{"wrong method", request("PUT", "application/json", "sandbox-secret", "", good), 405, 1006},
		{"language", request("POST", "application/json", "sandbox-secret", "pl", good), 406, 1000},
	} {
		if tt.a.status != tt.status {
			t.Errorf("%s: status %d, want %d: %s", tt.name, tt.a.status, tt.status, tt.a.body)
			continue
		}
		if tt.code != 0 {
			if code, _, _ := tt.a.finxError(t); code != tt.code {
				t.Errorf("%s: code %d, want %d", tt.name, code, tt.code)
			}
		}
	}
	if a := c.call(http.StatusNotFound, "GET", "/nowhere", "", nil); true {
		if code, _, _ := a.finxError(t); code != 1002 {
			t.Errorf("code %d", code)
		}
	}
}

func TestSyncLink(t *testing.T) {
	for _, without := range []bool{false, true} {
		s, c := start(t, Options{SyncWithoutCode: without})
		body := map[string]any{"redirect_uri": "http://localhost", "user_id": "u1", "state": "renew", "language": "en"}
		a := c.call(http.StatusNotFound, "POST", "/ongoing/sync", "", body) // nothing to sync yet
		if code, _, _ := a.finxError(t); code != 1002 {
			t.Errorf("code %d", code)
		}
		tk := c.login(s, "u1")
		before := c.accounts(tk.AccessToken)[0]
		s.Advance(10 * time.Minute)
		body["account_ids"] = []string{before.AccountID}
		b := c.browse(c.link("/ongoing/sync", body).Location)
		if !strings.Contains(b.page, "Renew the access") || !strings.Contains(b.page, "Log in at Mockbank") {
			t.Error("the page is not one of renewal")
		}
		b.submit("next", "user", "figo01", "pin", "654321")
		b.submit("next", "otp", otp)
		q := b.submit("next").Query()
		if q.Get("success") != "true" || q.Get("state") != "renew" || q.Has("code") == without {
			t.Errorf("redirect %v", q)
		}
		if after := c.accounts(tk.AccessToken)[0]; after.Status.SyncedAt <= before.Status.SyncedAt {
			t.Errorf("synced_at %s, before %s", after.Status.SyncedAt, before.Status.SyncedAt)
		}
		body["account_ids"] = []string{"A1.1"}
		a = c.call(http.StatusBadRequest, "POST", "/ongoing/sync", "", body)
		if _, _, fields := a.finxError(t); !slices.Equal(fields, []string{"account_ids"}) {
			t.Errorf("an unknown account: fields %v", fields)
		}
	}
}

func TestLinkExpires(t *testing.T) {
	s, c := start(t, Options{LinkLifetime: time.Hour})
	l := c.link("/ongoing/access", accessBody())
	s.Advance(time.Hour)
	if _, err := s.Approve(l.Location); !errors.Is(err, ErrNoSuchLink) {
		t.Errorf("error %v", err)
	}
	if _, err := s.Approve("http://[broken"); !errors.Is(err, ErrNoSuchLink) {
		t.Errorf("error %v", err)
	}
	if a, _ := c.do("GET", strings.TrimPrefix(l.Location, c.base), "", nil); a.status != http.StatusNotFound {
		t.Errorf("status %d", a.status)
	}
}

func TestPublicURL(t *testing.T) {
	_, c := start(t, Options{PublicURL: "https://widget.example"})
	if l := c.link("/ongoing/access", accessBody()); !strings.HasPrefix(l.Location, "https://widget.example/widget/?token=") {
		t.Errorf("location %.60s", l.Location)
	}
}
