package finx_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// What an answer over the wire says, with its error: Until only when finX named one.
func TestAnswersReachTheGate(t *testing.T) {
	const fallback = time.Minute
	for name, tc := range map[string]struct {
		status int
		body   string
		wait   string // Retry-After
		kind   guard.Kind
		until  time.Duration
		narrow bool
	}{
		"502":                       {502, "", "", guard.Away, 0, false},
		"502 with a time":           {502, "", "30", guard.Away, 0, false},
		"503":                       {503, "", "", guard.Throttled, 0, false},
		"503 with a time":           {503, "", "90", guard.Throttled, 90 * time.Second, false},
		"429 with a time":           {429, finx1000, "120", guard.Throttled, 2 * time.Minute, false},
		"429 with an absurd time":   {429, "", "99999999999", guard.Throttled, 24 * time.Hour, false},
		"429 with a time gone":      {429, "", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), guard.Throttled, 0, false},
		"busy":                      {423, `{"error":{"code":1008}}`, "30", guard.Alive, 0, true},
		"busy, as throttling":       {503, `{"error":{"code":1008}}`, "30", guard.Alive, 0, true},
		"locked user":               {429, `{"error":{"code":1010}}`, "", guard.Alive, 0, true},
		"too many syncs":            {429, `{"error":{"code":1020}}`, "30", guard.Alive, 0, true},
		"a bank is away":            {503, `{"error":{"code":20001}}`, "", guard.Alive, 0, true},
		"the line to a bank is out": {504, `{"error":{"code":40001}}`, "", guard.Alive, 0, true},
		"refused":                   {400, finx1000, "", guard.Alive, 0, false},
		"from a gateway":            {404, "<html>", "", guard.Away, 0, false},
		"redirected":                {302, "", "", guard.Away, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := &door{}
			c := newClient(t, serve(t, answer(tc.status, tc.body, "Retry-After", tc.wait)),
				func(cfg *finx.Config) { cfg.Gate, cfg.ThrottleDefault = d, fallback })
			for _, kind := range callers() {
				err := kind.call(t.Context(), c)
				a := d.heard(t)
				if a.Kind != tc.kind || isNarrow(err) != tc.narrow {
					t.Errorf("%s: %+v, narrow %v, of %v", kind.name, a, isNarrow(err), err)
				}
				if got := time.Until(a.Until); a.Until.IsZero() != (tc.until == 0) || tc.until > 0 && (got > tc.until || got < tc.until-10*time.Second) {
					t.Errorf("%s: until %v, want %v", kind.name, got, tc.until)
				}
				noSecretIn(t, a.Why)
			}
		})
	}
}

const finx1000 = `{"error":{"code":1000,"description":"words","group":"client"}}`

func isNarrow(err error) bool {
	fe, ok := errors.AsType[*fault.Error](err)
	return ok && fe.Narrow
}

func noSecretIn(t *testing.T, text string) {
	t.Helper()
	for _, secret := range canaries() {
		if strings.Contains(text, secret) {
			t.Errorf("%q shows in %q", secret, text)
		}
	}
	if len(text) > 300 || strings.Contains(text, "\n") {
		t.Errorf("no line for people: %q", text)
	}
}

// A 2xx answer that is of no use: finX's own, or made up by what is in front of it.
func TestUnusableAnswersReachTheGate(t *testing.T) {
	for body, want := range map[string]guard.Kind{
		"":                               guard.Away,
		"<html>maintenance</html>":       guard.Away,
		"OK":                             guard.Away,
		"null":                           guard.Away,
		`"x"`:                            guard.Away,
		"{}":                             guard.Away,
		`{"message":"maintenance"}`:      guard.Away,
		`{"error":"maintenance"}`:        guard.Away,
		`{"message":"` + canaryNewAccess: guard.Away,
		finx1000:                         guard.Alive,
		`{"error":"invalid_request"}`:    guard.Alive,
		`{"location":false,"accounts":{},"transactions":1,"access_token":{}}`:                                guard.Alive,
		`{"location":"","accounts":[{"account_id":"A"},{"iban":"DE"}],"transactions":[1],"access_token":""}`: guard.Alive,
		"\ufeff" + `{"location":[],"accounts":[{}],"transactions":[[]],"access_token":null`:                  guard.Alive,
	} {
		d := &door{}
		c := newClient(t, serve(t, answer(200, body)), behind(d))
		for _, kind := range callers() {
			err := kind.call(t.Context(), c)
			a := d.heard(t)
			if kind.name == "revoke" { // does not look at it
				continue
			}
			if err == nil || a.Kind != want || (a.Why == "") != (want == guard.Alive) {
				t.Errorf("%s, %q: %+v, %v", kind.name, body, a, err)
			}
			noSecretIn(t, a.Why)
		}
	}
	d := &door{}
	c := newClient(t, serve(t, answer(200, goodAnswer)), func(cfg *finx.Config) { cfg.Gate, cfg.MaxBodyBytes = d, 10 })
	for _, kind := range callers() {
		if err := kind.call(t.Context(), c); (err == nil) != (kind.name == "revoke") || d.heard(t).Kind != guard.Alive {
			t.Errorf("too large a body, %s: %v", kind.name, err)
		}
	}
}

// Attempts that get no answer, or half of one.
func TestSilenceReachesTheGate(t *testing.T) {
	untrusted := httptest.NewTLSServer(answer(200, goodAnswer))
	untrusted.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(untrusted.Close)
	closed := httptest.NewServer(answer(200, goodAnswer))
	closed.Close()
	half := func(end http.HandlerFunc) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5000")
			_, _ = io.WriteString(w, `{"accounts":[`)
			_ = http.NewResponseController(w).Flush()
			end(w, r)
		})
	}
	for name, base := range map[string]string{
		"refused connection": closed.URL,
		"unknown host":       "http://finx.invalid",
		"untrusted":          untrusted.URL,
		"not HTTP":           serve(t, func(w http.ResponseWriter, _ *http.Request) { hijack(w, canaryNewAccess+"\r\n\r\n") }),
		"reset":              serve(t, func(w http.ResponseWriter, _ *http.Request) { hijack(w, "") }),
		"hangs":              serve(t, hang),
		"broken off":         half(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		"hangs in the body":  half(hang),
	} {
		t.Run(name, func(t *testing.T) {
			d := &door{}
			c := newClient(t, base, func(cfg *finx.Config) {
				limit := 200 * time.Millisecond
				cfg.Gate = d
				cfg.Timeouts = finx.Timeouts{Link: limit, Token: limit, Revoke: limit, Accounts: limit, Transactions: limit}
			})
			for _, kind := range callers() {
				err := kind.call(t.Context(), c)
				a := d.heard(t)
				if kind.name == "revoke" && err == nil {
					continue // it has seen the status, and looks no further
				}
				if a.Kind != guard.Away || !strings.HasPrefix(a.Why, "no answer of finX: ") || isNarrow(err) {
					t.Errorf("%s: %+v, %v", kind.name, a, err)
				}
				noSecretIn(t, a.Why)
			}
		})
	}
	t.Run("ended by the caller", func(t *testing.T) {
		for _, base := range []string{serve(t, hang), half(hang)} {
			d := &door{}
			c := newClient(t, base, behind(d))
			for _, kind := range callers() {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				err := kind.call(ctx, c)
				cancel()
				if a := d.heard(t); kind.name != "revoke" && a != (guard.Answer{}) {
					t.Errorf("%s: %+v, %v", kind.name, a, err)
				}
			}
		}
	})
}

func hijack(w http.ResponseWriter, say string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_, _ = io.WriteString(conn, say)
		_ = conn.Close()
	}
}
