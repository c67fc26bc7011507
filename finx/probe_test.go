package finx_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
)

const (
	credentials = "finX refuses the client credentials (FINX_CLIENT_ID, FINX_CLIENT_SECRET)"
	notFinX     = "something that is not finX answers"
)

func TestProbing(t *testing.T) {
	date := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	for name, tc := range map[string]struct {
		status int
		body   string
		wait   string // Retry-After
		want   fault.Verdict
		until  time.Duration
		says   string
	}{
		"the tree":                    {200, `{"categories":[]}`, "", fault.Done, 0, ""},
		"nothing at all":              {204, "", "", fault.Done, 0, ""},
		"something else":              {200, "<html>", "", fault.Done, 0, ""},
		"a large tree":                {200, strings.Repeat("x", 1<<20), "", fault.Done, 0, ""},
		"no such path":                {404, `{"error":{"code":1002,"description":"Not Found"}}`, "", fault.Done, 0, ""},
		"no such path, says somebody": {404, "default backend", "", fault.Done, 0, ""},
		"gone":                        {410, "", "", fault.Done, 0, ""},
		"not by this method":          {405, "", "", fault.Done, 0, ""},
		"refused":                     {400, finx1000, "", fault.Done, 0, ""},
		"not for this client":         {403, `{"error":{"code":1003}}`, "", fault.Done, 0, ""},
		"not for anybody":             {403, "<html>", "", fault.Done, 0, ""},
		"busy":                        {423, `{"error":{"code":1008}}`, "", fault.Done, 0, ""},
		"a bank is away":              {503, `{"error":{"code":20001}}`, "", fault.Done, 0, ""},
		"too many syncs":              {429, `{"error":{"code":1020}}`, "", fault.Done, 0, ""},
		"the client is refused":       {401, "", "", fault.Retry, 0, credentials},
		"the client is unknown":       {401, `{"error":{"code":1004}}`, "", fault.Retry, 0, credentials},
		"the client is not known":     {400, `{"error":"invalid_client"}`, "", fault.Retry, 0, credentials},
		"the client is not allowed":   {401, `{"error":{"code":1003}}`, "", fault.Retry, 0, credentials},
		"broken":                      {500, "", "", fault.Retry, 0, "status 500"},
		"broken for a while":          {500, "", "30", fault.Retry, 0, "status 500"},
		"a gateway without finX":      {502, "<html>", "", fault.Retry, 0, "status 502"},
		"a gateway that waits":        {504, "", "", fault.Retry, 0, "status 504"},
		"too slow":                    {408, "", "", fault.Retry, 0, "status 408"},
		"too early":                   {425, "", "", fault.Retry, 0, "status 425"},
		"sent elsewhere":              {302, "", "", fault.Retry, 0, notFinX},
		"a proxy":                     {407, "", "", fault.Retry, 0, notFinX},
		"another host":                {421, "", "", fault.Retry, 0, notFinX},
		"throttled":                   {429, "", "", fault.WaitUntil, 0, "status 429"},
		"throttled for a while":       {429, "", "120", fault.WaitUntil, 2 * time.Minute, "status 429"},
		"down":                        {503, "", "", fault.WaitUntil, 0, "status 503"},
		"down for a while":            {503, "", date, fault.WaitUntil, 90 * time.Second, "status 503"},
		"down, in the past":           {503, "", "0", fault.WaitUntil, 0, "status 503"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, serve(t, answer(tc.status, tc.body, "Retry-After", tc.wait)), nil)
			err := c.Probe(t.Context())
			if fault.Of(err) != tc.want {
				t.Fatalf("%v, want the verdict %v", err, tc.want)
			}
			if err == nil {
				return
			}
			noSecretIn(t, err.Error())
			if !strings.Contains(err.Error(), tc.says) || fault.DependencyOf(err) != fault.FinX || fault.IsAmbiguous(err) {
				t.Errorf("%v, want %q", err, tc.says)
			}
			if until, _ := fault.Until(err); until.IsZero() != (tc.until == 0) || tc.until > 0 && (time.Until(until) > tc.until+time.Second || time.Until(until) < tc.until-10*time.Second) {
				t.Errorf("until %v, want %v", until, tc.until)
			}
		})
	}
}

// A probe asks as the client, once, past the gate, and about nobody.
func TestAProbeIsOneCallPastTheGate(t *testing.T) {
	var got []*http.Request
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r)
		w.WriteHeader(http.StatusInternalServerError)
	})
	c := newClient(t, base, func(cfg *finx.Config) {
		shut := &door{wait: func() error { return errors.New("shut") }}
		cfg.Gate, cfg.Paths.Probe, cfg.RetryBudget = shut, "/is/it", time.Minute
	})
	if err := c.Probe(t.Context()); fault.Of(err) != fault.Retry {
		t.Error(err)
	}
	if len(got) != 1 {
		t.Fatalf("%d requests", len(got))
	}
	id, secret, _ := got[0].BasicAuth()
	if got[0].Method != http.MethodGet || got[0].RequestURI != "/is/it" || id != clientID || secret != canaryClientSecret || got[0].ContentLength != 0 {
		t.Errorf("%s %s as %q", got[0].Method, got[0].RequestURI, id)
	}
}

// No answer is no good news; who gives up blames nobody. A body that is
// broken off changes nothing: the status has been given.
func TestAProbeWithoutAnAnswer(t *testing.T) {
	closed := httptest.NewServer(answer(200, ""))
	closed.Close()
	short := func(cfg *finx.Config) { cfg.Timeouts.Accounts = 200 * time.Millisecond }
	for name, base := range map[string]string{
		"refused connection": closed.URL,
		"hangs":              serve(t, hang),
		"reset":              serve(t, func(w http.ResponseWriter, _ *http.Request) { hijack(w, "") }),
	} {
		err := newClient(t, base, short).Probe(t.Context())
		if fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.FinX || !strings.Contains(err.Error(), "no answer of finX: ") {
			t.Errorf("%s: %v", name, err)
		}
		noSecretIn(t, err.Error())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := newClient(t, serve(t, hang), nil).Probe(ctx); err == nil || fault.DependencyOf(err) != "" {
		t.Errorf("given up: %v", err)
	}
	endless := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5000")
		_, _ = io.WriteString(w, `{"categories":[`)
		_ = http.NewResponseController(w).Flush()
		hang(w, r)
	})
	if err := newClient(t, endless, short).Probe(t.Context()); err != nil {
		t.Errorf("an answer that has begun: %v", err)
	}
}

func TestProbingTheSandbox(t *testing.T) {
	sandbox, base := finxtest.Start(t, finxtest.Options{ClientID: clientID, ClientSecret: canaryClientSecret})
	if err := newClient(t, base, nil).Probe(t.Context()); err != nil {
		t.Error(err)
	}
	stranger := newClient(t, base, func(cfg *finx.Config) { cfg.ClientID = "somebody" })
	if err := stranger.Probe(t.Context()); !errors.Is(err, finx.ErrClientCredentials) {
		t.Error(err)
	}
	elsewhere := newClient(t, base, func(cfg *finx.Config) { cfg.Paths.Probe = "/no/such/path" })
	if err := elsewhere.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if calls := sandbox.Stats().Calls; calls["categories"][200] != 1 || calls["categories"][401] != 1 || calls["other"][404] != 1 {
		t.Errorf("calls %v", calls)
	}
}
