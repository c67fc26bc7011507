package vaulttest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/internal/vaultdev"
)

// Call sends body (nil for none) as JSON with the root token and returns the
// decoded answer. A status of 400 or more fails the test.
func (s *Server) Call(t testing.TB, method, path string, body any) map[string]any {
	t.Helper()
	status, answer, err := s.Try(t.Context(), s.Token, method, path, body)
	if err != nil {
		t.Fatalf("vaulttest: %s %s: %v", method, path, err)
	}
	if status >= http.StatusBadRequest {
		t.Fatalf("vaulttest: %s %s: status %d: %v", method, path, status, answer["errors"])
	}
	return answer
}

// Try is Call with a token of choice and without a judgement.
func (s *Server) Try(ctx context.Context, token, method, path string, body any) (status int, answer map[string]any, err error) {
	var payload bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&payload).Encode(body); err != nil {
			return 0, nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, s.Addr+"/v1/"+path, &payload)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("X-Vault-Token", token)
	if path == "sys/wrapping/wrap" {
		req.Header.Set("X-Vault-Wrap-TTL", "60s")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // nothing idle for a leak check to find
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	err = json.NewDecoder(resp.Body).Decode(&answer)
	if errors.Is(err, io.EOF) { // 204
		err = nil
	}
	return resp.StatusCode, answer, err
}

// Data returns the object below "data" (or "auth") of an answer of Call.
func Data(t testing.TB, answer map[string]any, member string) map[string]any {
	t.Helper()
	data, ok := answer[member].(map[string]any)
	if !ok {
		t.Fatalf("vaulttest: answer without %q", member)
	}
	return data
}

// Mount mounts a fresh KV v2 engine and returns its path. config is written to
// the mount ("max_versions", …) when given.
func (s *Server) Mount(t testing.TB, config ...map[string]any) string {
	t.Helper()
	path := Name("kv")
	s.Call(t, http.MethodPost, "sys/mounts/"+path, map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	t.Cleanup(func() { s.discard("sys/mounts/" + path) })
	for _, c := range config {
		s.Call(t, http.MethodPost, path+"/config", c)
	}
	return path
}

// Transit mounts a fresh transit engine and makes a key in it.
func (s *Server) Transit(t testing.TB) (mount, key string) {
	t.Helper()
	mount, key = Name("transit"), "escrow-key"
	s.Call(t, http.MethodPost, "sys/mounts/"+mount, map[string]any{"type": "transit"})
	t.Cleanup(func() { s.discard("sys/mounts/" + mount) })
	s.Call(t, http.MethodPost, mount+"/keys/"+key, nil)
	return mount, key
}

// Seal seals the server: every call answers 503.
func (s *Server) Seal(t testing.TB) {
	t.Helper()
	s.mustOwn(t)
	s.Call(t, http.MethodPut, "sys/seal", nil)
}

// Unseal opens a sealed server.
func (s *Server) Unseal(t testing.TB) {
	t.Helper()
	s.mustOwn(t)
	s.Call(t, http.MethodPut, "sys/unseal", map[string]any{"key": s.unsealKey})
}

// Policy writes an ACL policy under a fresh name and returns the name. KV2Rules
// makes the rules this program needs.
func (s *Server) Policy(t testing.TB, rules string) string {
	t.Helper()
	name := Name("policy")
	s.Call(t, http.MethodPut, "sys/policies/acl/"+name, map[string]any{"policy": rules})
	t.Cleanup(func() { s.discard("sys/policies/acl/" + name) })
	return name
}

// KV2Rules returns the shipped policy for a mount and a prefix. Its rules for
// transit name the engine of the default path.
func KV2Rules(t testing.TB, mount, prefix string) string {
	t.Helper()
	return Rules(t, Paths{Mount: mount, Prefix: prefix})
}

// Paths are where a Vault keeps what the shipped policy speaks of. An empty
// field is as shipped.
type Paths struct {
	Mount, Prefix            string // of the KV v2 engine
	TransitMount, TransitKey string
}

// Rules returns the shipped policy for other paths than those it is written for.
func Rules(t testing.TB, p Paths) string {
	t.Helper()
	root, err := vaultdev.Root(".")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(filepath.Join(root, "deploy", "vault", "finx-connector.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(
		`"secret/`, `"`+cmp.Or(p.Mount, "secret")+`/`, "/finx/", "/"+cmp.Or(p.Prefix, "finx")+"/",
		`"transit/`, `"`+cmp.Or(p.TransitMount, "transit")+`/`, `/finx-escrow"`, "/"+cmp.Or(p.TransitKey, "finx-escrow")+`"`,
	).Replace(string(rules))
}

// NewToken creates a token from the fields of auth/token/create.
func (s *Server) NewToken(t testing.TB, fields map[string]any) string {
	t.Helper()
	auth := Data(t, s.Call(t, http.MethodPost, "auth/token/create", fields), "auth")
	return text(t, auth, "client_token")
}

// Revoke revokes a token.
func (s *Server) Revoke(t testing.TB, token string) {
	t.Helper()
	s.Call(t, http.MethodPost, "auth/token/revoke", map[string]any{"token": token})
}

// discard is for clean-up: a server that is sealed or gone needs none.
func (s *Server) discard(path string) {
	if _, _, err := s.Try(context.Background(), s.Token, http.MethodDelete, path, nil); err != nil {
		return
	}
}

// Name returns a name nobody else uses, so that tests may share a server.
func Name(kind string) string { return kind + "-" + strings.ToLower(rand.Text()) }

func text(t testing.TB, m map[string]any, member string) string {
	t.Helper()
	s, ok := m[member].(string)
	if !ok || s == "" {
		t.Fatalf("vaulttest: answer without %q", member)
	}
	return s
}
