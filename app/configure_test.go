package app_test

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/settings"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// load reads settings from a made-up environment.
func load(t *testing.T, env map[string]string) settings.Settings {
	t.Helper()
	s, err := settings.Load("", func(name string) string { return env[name] }, nil, settings.Need{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSettingsReachTheirParts(t *testing.T) {
	s := load(t, map[string]string{
		"NATS_URL": "nats://a:1,nats://b:2", "NATS_CREDS": "", "SUBJECT_PREFIX": "acme", "MAX_INPUT_BYTES": "64KiB",
		"FINX_BASE_URL": "https://finx.example", "FINX_ALLOW_HTTP": "true", "FINX_CLIENT_ID": "id", "FINX_CLIENT_SECRET": "geheim", "FINX_TIMEOUT_TOKEN": "7s",
		"FINX_TIMEOUT_PAGE": "8s", "FINX_PATH_TOKEN": "/t", "FINX_RETRY_BUDGET": "0s", "PAGE_SIZE": "123",
		"VAULT_ADDR": "https://vault.example:8200", "VAULT_NAMESPACE": "ns", "VAULT_CACERT": "/ca.pem", "VAULT_TLS_SERVER_NAME": "vault.test",
		"VAULT_AUTH": "kubernetes", "VAULT_K8S_ROLE": "role", "VAULT_KV_MOUNT": "kv", "VAULT_KV_PREFIX": "p",
		"CONNECT_CONCURRENCY": "1", "CALLBACK_CONCURRENCY": "2", "SYNC_CONCURRENCY": "3", "ERASURE_CONCURRENCY": "4", "DUE_CONCURRENCY": "5",
		"STREAM_REQUESTS": "TEAM", "STREAM_CALLBACKS": "THEIRS",
	})
	nats, finx, vault, names := app.NATSConfig(s), app.FinXConfig(s), app.VaultConfig(s), app.StreamNames(s)
	for what, ok := range map[string]bool{
		"NATS_URL":            nats.URL == "nats://a:1,nats://b:2",
		"SUBJECT_PREFIX":      app.Codec(s).Subject("x") == "acme.x",
		"MAX_INPUT_BYTES":     app.Codec(s).MaxInputBytes == 64<<10,
		"FINX_BASE_URL":       finx.BaseURL == "https://finx.example" && finx.ClientID == "id" && finx.ClientSecret.Reveal() == "geheim",
		"FINX_ALLOW_HTTP":     finx.AllowHTTP,
		"FINX_TIMEOUT_TOKEN":  finx.Timeouts.Token == 7*time.Second,
		"FINX_TIMEOUT_PAGE":   finx.Timeouts.Transactions == 8*time.Second,
		"FINX_PATH_TOKEN":     finx.Paths.Token == "/t",
		"FINX_RETRY_BUDGET=0": finx.RetryBudget < 0,
		"HTTPS_PROXY":         finx.Proxy != nil,
		"PAGE_SIZE":           finx.PageSize == 123,
		"callers":             finx.MaxIdlePerHost == 15 && vault.Concurrency == 15,
		"VAULT_ADDR":          vault.Address == "https://vault.example:8200" && vault.Namespace == "ns",
		"VAULT_CACERT":        vault.TLS.CACert == "/ca.pem" && vault.TLS.ServerName == "vault.test",
		"VAULT_AUTH":          vault.Auth == "kubernetes" && vault.K8sRole == "role",
		"VAULT_KV_MOUNT":      vault.Mount == "kv" && vault.Prefix == "p",
		"STREAM_REQUESTS":     names.Connects == "TEAM" && names.Syncs == "FINX_REQUESTS" && names.Callbacks == "THEIRS",
	} {
		if !ok {
			t.Errorf("%s does not reach the part it is for", what)
		}
	}
}

// A secret that lies in a file is read by settings, and again by the login, which
// takes one or the other.
func TestSecretsOfFilesReachTheLogin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret-id")
	if err := os.WriteFile(file, []byte("s-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"VAULT_ADDR": "https://vault.example:8200", "VAULT_AUTH": "approle", "VAULT_ROLE_ID": "role",
		"FINX_BASE_URL": "https://finx.example", "FINX_CLIENT_ID": "id", "FINX_CLIENT_SECRET": "geheim",
	}
	for name, value := range map[string]string{"VAULT_SECRET_ID_FILE": file, "VAULT_SECRET_ID": "s-1"} {
		env := maps.Clone(env)
		env[name] = value
		s, err := settings.Load("", func(name string) string { return env[name] }, nil, settings.Need{FinX: true, Vault: true})
		if err != nil {
			t.Fatal(err)
		}
		store, err := vaultstore.New(app.VaultConfig(s))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		store.Close()
	}
}

func TestRunRefusesWhatCannotWork(t *testing.T) {
	s := load(t, map[string]string{"FINX_BASE_URL": "https://finx.example", "FINX_CLIENT_ID": "id", "FINX_CLIENT_SECRET": "geheim", "LISTEN_ADDR": "127.0.0.1:0"})
	s.NATS.CredsFile = "/nowhere/user.creds"
	err := app.Run(t.Context(), app.Options{Settings: s, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "NATS_CREDS") || errors.Is(err, t.Context().Err()) {
		t.Errorf("error %v, want one that names NATS_CREDS", err)
	}
}
