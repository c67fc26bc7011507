package finxtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxRequestBytes bounds a request body; two 64 KiB tokens fit many times.
const maxRequestBytes = 1 << 20

// ServeHTTP answers one request: controls and widget pages as they are, API
// calls behind the rate limit and the faults, counted and logged.
func (s *Sandbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequestBytes)
	_, pattern := s.mux.Handler(r)
	if strings.HasPrefix(r.URL.Path, "/widget/") || strings.HasPrefix(r.URL.Path, "/_sandbox/") {
		s.mux.ServeHTTP(w, r)
		return
	}
	c := served{
		call: callName(pattern, r), method: r.Method, pattern: pattern,
		started: time.Now(), w: &statusWriter{ResponseWriter: w},
	}
	// Runs for dropped connections too; their panic goes on to net/http, which
	// closes the connection.
	defer s.note(r.Context(), &c)
	if wait, limited := s.throttled(); limited {
		s.writeThrottled(c.w, wait)
		return
	}
	s.mu.Lock()
	f, hit := s.faults.pick(c.call)
	s.mu.Unlock()
	if !hit {
		s.mux.ServeHTTP(c.w, r)
		return
	}
	c.fault = f.ID
	serveFault(c.w, r, s.mux, f)
}

// served is an API call on its way through the sandbox.
type served struct {
	call, method, pattern string
	started               time.Time
	w                     *statusWriter
	fault                 int // the id of the fault that acted, 0 for none
}

// note counts and logs a call when it is over.
func (s *Sandbox) note(ctx context.Context, c *served) {
	s.mu.Lock()
	s.stats.count(c.call, c.method+" "+c.pattern, c.w.status)
	s.mu.Unlock()
	s.opts.Logger.InfoContext(ctx, "call", "call", c.call, "method", c.method, "path", c.pattern,
		"status", c.w.status, "fault", c.fault, "duration", time.Since(c.started))
}

// callName returns the name of a call that faults and counters go by.
func callName(pattern string, r *http.Request) string {
	switch strings.TrimSuffix(pattern, "/{$}") {
	case "/ongoing/access":
		return "access"
	case "/ongoing/sync":
		return "sync"
	case "/auth/token":
		return "token." + grantOf(r)
	case "/auth/revoke":
		return "revoke"
	case "/rest/accounts":
		return "accounts"
	case "/rest/accounts/{id}":
		return "account"
	case "/rest/accounts/{id}/balance":
		return "balance"
	case "/rest/transactions", "/rest/accounts/{id}/transactions":
		return "transactions"
	case "/rest/transactions/{tid}", "/rest/accounts/{id}/transactions/{tid}":
		return "transaction"
	case "/category-tree":
		return "categories"
	case "/version":
		return "version"
	}
	return "other"
}

// grantOf looks into a token request for its grant and leaves the body as it was.
func grantOf(r *http.Request) string {
	b, err := io.ReadAll(r.Body)
	rest := io.Reader(bytes.NewReader(b))
	if err != nil { // too large or cut off: the handler must see the same error
		rest = io.MultiReader(rest, r.Body)
	}
	r.Body = io.NopCloser(rest)
	var body struct {
		GrantType string `json:"grant_type"`
	}
	// An unreadable body has no grant; the handler says so to the client.
	_ = json.Unmarshal(b, &body)
	switch body.GrantType {
	case "authorization_code":
		return "exchange"
	case "refresh_token":
		return "refresh"
	}
	return "other"
}

// statusWriter remembers the status; 0 means that no answer was begun.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach Flush.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
