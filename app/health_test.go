package app

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func get(t *testing.T, h *health, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestReadinessNamesTheDependencyAndWhy(t *testing.T) {
	sealed := errors.New("Vault is sealed & waits")
	var vault error
	h := &health{reg: prometheus.NewRegistry(), checks: []check{
		{"nats", func(context.Context) error { return nil }},
		{"vault", func(context.Context) error { return vault }},
	}}
	if code, body := get(t, h, "/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d %s", code, body)
	}
	vault = sealed
	code, body := get(t, h, "/readyz")
	if code != http.StatusServiceUnavailable || !strings.Contains(body, "Vault is sealed & waits") {
		t.Errorf("sealed: %d %s", code, body)
	}
	var state readiness
	if err := json.Unmarshal([]byte(body), &state); err != nil || state.Ready || !state.Dependencies[0].Ready || state.Dependencies[1].Ready {
		t.Errorf("answer %+v, error %v", state, err)
	}
	if code, _ := get(t, h, "/healthz"); code != http.StatusOK {
		t.Error("a sealed Vault is no reason to restart this process")
	}
	vault = nil
	h.drain()
	if code, body := get(t, h, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "shutting down") {
		t.Errorf("draining: %d %s", code, body)
	}
}

// A dependency that hangs must not hang the probe, nor stand before the others.
func TestReadinessOfAHangingDependency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		h := &health{checks: []check{{"a", hang}, {"b", hang}, {"c", func(context.Context) error { return nil }}}}
		begin := time.Now()
		state := h.read(t.Context())
		if took := time.Since(begin); took != checkTimeout {
			t.Errorf("took %s, want %s for both together", took, checkTimeout)
		}
		if state.Ready || state.Dependencies[0].Ready || !state.Dependencies[2].Ready {
			t.Errorf("state %+v", state)
		}
	})
}

func TestTheHealthServerStops(t *testing.T) {
	h := &health{reg: prometheus.NewRegistry()}
	addr, stop, err := h.listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.listen(t.Context(), addr); err == nil || !strings.Contains(err.Error(), "LISTEN_ADDR") {
		t.Errorf("a port in use: error %v, want one that names the setting", err)
	}
	if err := stop(t.Context()); err != nil {
		t.Error(err)
	}
}
