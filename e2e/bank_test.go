package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// sandboxProcess is the sandbox as a program, driven by its control endpoints.
type sandboxProcess struct {
	*process

	t    testing.TB
	base string
}

// startSandbox starts finx-sandbox on a free port.
func startSandbox(t testing.TB, args ...string) *sandboxProcess {
	t.Helper()
	env := map[string]string{"FINX_CLIENT_ID": clientID, "FINX_CLIENT_SECRET": clientSecret}
	p := launch(t, programs.path(t, "finx-sandbox"), env, append([]string{"--listen", "127.0.0.1:0", "--log", "debug"}, args...)...)
	s := &sandboxProcess{process: p, t: t}
	natstest.Eventually(t, within, func() bool {
		_, rest, ok := strings.Cut(p.out.String(), "listening on ")
		s.base, _, _ = strings.Cut(rest, "\n")
		return ok && s.base != ""
	}, "sandbox listens")
	return s
}

// control posts to a control endpoint and decodes the answer.
func (s *sandboxProcess) control(path string, body any) map[string]any {
	s.t.Helper()
	return post(s.t, s.base+"/_sandbox/"+path, "", body)
}

// leave plays the human behind a link; action is approve, cancel or fail.
func (s *sandboxProcess) leave(location, action string) *url.URL {
	s.t.Helper()
	redirect, _ := s.control("approve", map[string]string{"location": location, "action": action})["redirect"].(string)
	back, err := url.Parse(redirect)
	if err != nil || redirect == "" {
		s.t.Fatalf("no redirect: %v", err)
	}
	return back
}

// connected is somebody who has been through finX without the connector.
func connected(t testing.TB, base, user string, approve func(location string) *url.URL) (accessToken string) {
	t.Helper()
	link := post(t, base+"/ongoing/access", "", map[string]any{"user_id": user, "redirect_uri": redirectURI, "state": "direct", "language": "en"})
	location, _ := link["location"].(string)
	tokens := post(t, base+"/auth/token", "", map[string]any{
		"grant_type": "authorization_code", "code": approve(location).Query().Get("code"), "redirect_uri": redirectURI,
	})
	accessToken, _ = tokens["access_token"].(string)
	if accessToken == "" {
		t.Fatal("no access token")
	}
	return accessToken
}

func post(t testing.TB, to, bearer string, body any) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(call(t, http.MethodPost, to, bearer, encode(t, body)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// call speaks to finX past the connector: with Basic when there is no bearer.
func call(t testing.TB, method, to, bearer string, body []byte) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, to, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if bearer == "" {
		req.SetBasicAuth(clientID, clientSecret)
	} else {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= http.StatusBadRequest {
		t.Fatalf("%s %s: status %d, %v", method, to, resp.StatusCode, err)
	}
	return raw
}

// everything reads all transactions of an account from the sandbox, in the
// order and window of a fetch, and hands them on as they came, joined by commas.
func everything(t testing.TB, base, bearer, accountID string, w events.Window, take func(objects []byte)) {
	t.Helper()
	const page = 10000
	for offset := 0; ; offset += page {
		query := url.Values{
			"count": {strconv.Itoa(page)}, "offset": {strconv.Itoa(offset)}, "sort": {"asc"}, "include_pending": {"true"},
			"until": {w.Until}, "since_type": {"booked"},
		}
		if w.Since != "" {
			query.Set("since", w.Since)
		}
		body := call(t, http.MethodGet, base+"/rest/accounts/"+accountID+"/transactions?"+query.Encode(), bearer, nil)
		body = bytes.TrimSuffix(bytes.TrimPrefix(body, []byte(`{"transactions":[`)), []byte(`]}`))
		if len(body) == 0 {
			return
		}
		take(body)
	}
}
