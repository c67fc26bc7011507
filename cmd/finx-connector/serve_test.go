package main

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

// withServers gives r the settings of a finX and a Vault that answer nothing
// but errors; serve must stand that.
func (r *rig) withServers(t *testing.T) *rig {
	t.Helper()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusServiceUnavailable)
	}))
	t.Cleanup(broken.Close)
	maps.Copy(r.env, map[string]string{
		"FINX_BASE_URL": broken.URL, "FINX_CLIENT_ID": "client", "FINX_CLIENT_SECRET": "canary-client-secret",
		"VAULT_ADDR": broken.URL, "VAULT_TOKEN": "canary-vault-token", "LISTEN_ADDR": "127.0.0.1:0",
	})
	return r
}

// listening returns where the process with this log listens.
func listening(t *testing.T, log *buffer) string {
	t.Helper()
	addr := ""
	natstest.Eventually(t, 20*time.Second, func() bool {
		for line := range strings.Lines(log.String()) {
			var entry struct{ Msg, Addr string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" {
				addr = entry.Addr
			}
		}
		return addr != ""
	}, "serve listens")
	return addr
}

func TestServeAnswersAndDrains(t *testing.T) {
	r := applied(t).withServers(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stdout, stderr buffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"serve"}, r.system(strings.NewReader(""), &stdout, &stderr)) }()

	base := "http://" + listening(t, &stderr)
	if code, _ := get(t, base+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answers %d", code)
	}
	if code, body := get(t, base+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "vault") {
		t.Errorf("/readyz answers %d: %s", code, body)
	}
	stop()
	select {
	case code := <-ended:
		if code != exitOK {
			t.Errorf("exit %d: %s", code, stderr.String())
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("serve does not end: %s", stderr.String())
	}
	if out := stdout.String(); out != "" {
		t.Errorf("standard output: %s", out)
	}
	if log := stderr.String(); strings.Contains(log, "canary") || !strings.Contains(log, `"msg":"drained"`) {
		t.Error(log)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestServeNamesWhatIsWrongWithItsSettings(t *testing.T) {
	r := &rig{env: map[string]string{"FINX_CLIENT_SECRET": "canary-client-secret", "FINX_TIMEOUT_TOKEN": "canary-pasted-secret"}}
	r.run(t, "serve").exits(t, exitUsage).
		complains(t, "finx-connector: settings: FINX_BASE_URL: required", "finx-connector: settings: VAULT_TOKEN: required", "FINX_TIMEOUT_TOKEN (environment)").
		hides(t, "canary")
	r.run(t, "serve", "--config", "no-such-file.yaml").exits(t, exitUsage).complains(t, "no-such-file.yaml")

	file := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(file, []byte("finx_bse_url: https://finx.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.run(t, "serve", "--config", file).exits(t, exitUsage).complains(t, "finx_bse_url", "finx_base_url")
}

func TestServeLogsAsTold(t *testing.T) {
	r := (&rig{env: map[string]string{"NATS_URL": "nats://127.0.0.1:1"}}).withServers(t)
	r.env["LOG_FORMAT"], r.env["LISTEN_ADDR"] = "text", "127.0.0.1:99999"
	r.run(t, "serve").exits(t, exitUsage) // no port
	r.env["LISTEN_ADDR"] = "192.0.2.1:80" // an address of the documentation, never ours
	r.run(t, "serve").exits(t, exitFailed).complains(t, "level=WARN", "finx-connector: app: starting, health server: ").hides(t, "canary")
}
