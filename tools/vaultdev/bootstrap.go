package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// keys are what a restart on old data needs. They lie in the data directory in
// clear: DEV ONLY.
type keys struct {
	UnsealKey    string `json:"unseal_key"`
	InitialToken string `json:"initial_token"`
	version      string
}

const keysFile = "vaultdev-keys-DEV-ONLY.json"

// bootstrap brings the server at addr to the state the ready line promises,
// with the same HTTP calls an operator would make. Every step can be repeated.
func bootstrap(ctx context.Context, addr string, opts options) (keys, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c := &caller{addr: addr, http: &http.Client{Timeout: 10 * time.Second}}
	k, err := initialise(ctx, c, opts)
	if err != nil {
		return k, err
	}
	if _, err := c.call(ctx, http.MethodPut, "sys/unseal", map[string]any{"key": k.UnsealKey}, nil); err != nil {
		return k, fmt.Errorf("unsealing: %w", err)
	}
	if k.version, err = awaitActive(ctx, c); err != nil {
		return k, err
	}
	c.token = k.InitialToken
	if err := ensureToken(ctx, c, opts.rootToken); err != nil {
		return k, err
	}
	return k, ensureMounts(ctx, c)
}

func initialise(ctx context.Context, c *caller, opts options) (keys, error) {
	var k keys
	var state struct{ Initialized bool }
	if _, err := c.call(ctx, http.MethodGet, "sys/init", nil, &state); err != nil {
		return k, fmt.Errorf("asking for the state: %w", err)
	}
	path := filepath.Join(opts.path, keysFile)
	if state.Initialized {
		raw, err := os.ReadFile(path) //nolint:gosec // a fixed name in the directory of -path
		if err != nil {
			return k, fmt.Errorf("old data without its key: %w", err)
		}
		return k, json.Unmarshal(raw, &k)
	}
	var born struct {
		Keys      []string
		RootToken string `json:"root_token"`
	}
	if _, err := c.call(ctx, http.MethodPut, "sys/init", map[string]any{"secret_shares": 1, "secret_threshold": 1}, &born); err != nil {
		return k, fmt.Errorf("initialising: %w", err)
	}
	if len(born.Keys) != 1 {
		return k, errors.New("initialising: no unseal key in the answer")
	}
	k = keys{UnsealKey: born.Keys[0], InitialToken: born.RootToken}
	if opts.storage == "inmem" {
		return k, nil
	}
	raw, err := json.Marshal(k)
	if err != nil {
		return k, err
	}
	return k, os.WriteFile(path, raw, fs.FileMode(0o600))
}

// awaitActive waits until the core leads: raft elects itself first.
func awaitActive(ctx context.Context, c *caller) (version string, err error) {
	for {
		var health struct{ Version string }
		status, err := c.call(ctx, http.MethodGet, "sys/health", nil, &health)
		if status == http.StatusOK {
			return health.Version, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for leadership: %w", errors.Join(ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func ensureToken(ctx context.Context, c *caller, id string) error {
	own := &caller{addr: c.addr, http: c.http, token: id}
	if _, err := own.call(ctx, http.MethodGet, "auth/token/lookup-self", nil, nil); err == nil {
		return nil
	}
	_, err := c.call(ctx, http.MethodPost, "auth/token/create", map[string]any{
		"id": id, "policies": []string{"root"}, "no_parent": true, "display_name": "vaultdev",
	}, nil)
	if err != nil {
		return fmt.Errorf("creating the root token: %w", err)
	}
	return nil
}

// ensureMounts mounts what is missing. The order is fixed so that two runs give
// the same log.
func ensureMounts(ctx context.Context, c *caller) error {
	for _, m := range []struct {
		list, path string
		body       map[string]any
	}{
		{"sys/mounts", "secret", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}},
		{"sys/mounts", "transit", map[string]any{"type": "transit"}},
		{"sys/auth", "approle", map[string]any{"type": "approle"}},
		{"sys/auth", "kubernetes", map[string]any{"type": "kubernetes"}},
	} {
		var have struct{ Data map[string]any }
		if _, err := c.call(ctx, http.MethodGet, m.list, nil, &have); err != nil {
			return fmt.Errorf("listing %s: %w", m.list, err)
		}
		if _, ok := have.Data[m.path+"/"]; ok {
			continue
		}
		if _, err := c.call(ctx, http.MethodPost, m.list+"/"+m.path, m.body, nil); err != nil {
			return fmt.Errorf("mounting %s: %w", m.path, err)
		}
	}
	return nil
}
