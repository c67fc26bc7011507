package vaultstore_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// withTransit gives the store a transit key and a token that may use it, under
// the shipped policy.
func withTransit(t *testing.T, s *vaulttest.Server, mount, key string) func(*vaultstore.Config) {
	t.Helper()
	return func(c *vaultstore.Config) {
		c.TransitMount, c.TransitKey = mount, key
		rules := vaulttest.Rules(t, vaulttest.Paths{Mount: c.Mount, Prefix: c.Prefix, TransitMount: mount, TransitKey: key})
		c.Token = secret.New(s.NewToken(t, map[string]any{"policies": []string{s.Policy(t, rules)}}))
	}
}

func mustDataKey(t *testing.T, store *vaultstore.Store) (plain []byte, wrapped string) {
	t.Helper()
	plain, wrapped, err := store.DataKey(t.Context())
	if err != nil || len(plain) != 32 || !strings.HasPrefix(wrapped, "vault:v") || bytes.Equal(plain, make([]byte, 32)) {
		t.Fatalf("%d bytes, wrapped in %d: %v", len(plain), len(wrapped), err)
	}
	return plain, wrapped
}

func mustOpen(t *testing.T, store *vaultstore.Store, wrapped string, want []byte) {
	t.Helper()
	if got, err := store.OpenKey(t.Context(), wrapped); err != nil || !bytes.Equal(got, want) {
		t.Errorf("opened to %d bytes, the same %t: %v", len(got), bytes.Equal(got, want), err)
	}
}

// mustGiveUp checks that an error is for good, of the given kind, and quotes
// none of the keys.
func mustGiveUp(t *testing.T, what string, err, target error, keys ...string) {
	t.Helper()
	if !errors.Is(err, target) || fault.Of(err) != fault.GiveUp || fault.IsAmbiguous(err) {
		t.Errorf("%s: verdict %v, %v, want %v", what, fault.Of(err), err, target)
		return
	}
	for _, key := range keys {
		if _, sealed, _ := strings.Cut(key, ":v"); strings.Contains(err.Error(), sealed) {
			t.Errorf("%s: the key is in the error: %v", what, err)
		}
	}
}

func TestDataKeysOpenAgain(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount, key := s.Transit(t)
	store := open(t, s, s.Mount(t), withTransit(t, s, mount, key))
	plain, wrapped := mustDataKey(t, store)
	mustOpen(t, store, wrapped, plain)
	other, otherWrapped := mustDataKey(t, store)
	if bytes.Equal(plain, other) || wrapped == otherWrapped {
		t.Error("the same key twice")
	}
	s.Call(t, http.MethodPost, mount+"/keys/"+key+"/rotate", nil)
	mustOpen(t, store, wrapped, plain)
	if _, rotated := mustDataKey(t, store); !strings.HasPrefix(rotated, "vault:v2:") {
		t.Errorf("after the rotation keys are wrapped by %.9q", rotated)
	}
	// Another replica, another token.
	mustOpen(t, open(t, s, s.Mount(t), withTransit(t, s, mount, key)), otherWrapped, other)
}

// TestNoTransit: what an operator has not set up is said plainly and for good,
// and readiness does not depend on it.
func TestNoTransit(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount, key := s.Transit(t)
	for name, typ := range map[string]map[string]any{"signing": {"type": "ed25519"}, "derived": {"derived": true}} {
		s.Call(t, http.MethodPost, mount+"/keys/"+name, typ)
	}
	kv1 := vaulttest.Name("kv1")
	s.Call(t, http.MethodPost, "sys/mounts/"+kv1, map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	kv2 := s.Mount(t)
	_, wrapped := mustDataKey(t, open(t, s, s.Mount(t), withTransit(t, s, mount, key)))
	for name, tt := range map[string]struct {
		mount, key string
		change     func(*vaultstore.Config)
		text       string
	}{
		"no such key":          {mount: mount, key: "none", text: "not found"},
		"a key that signs":     {mount: mount, key: "signing", text: "status 400"},
		"a key with contexts":  {mount: mount, key: "derived", text: "derivation"},
		"no such mount":        {mount: "nowhere", key: key, text: "no handler for route"},
		"a mount of KV v1":     {mount: kv1, key: key, change: withRules(t, s, `path "`+kv1+`/*" { capabilities = ["create", "update"] }`), text: "no transit engine"},
		"a mount of KV v2":     {mount: kv2, key: key, text: "status 404"},
		"policy does not know": {mount: mount, key: key, change: withRules(t, s, vaulttest.KV2Rules(t, "*", "team/finx")), text: "policies forbid"},
		"none is configured":   {mount: mount, key: "", text: "none is configured"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var m meter
			changes := []func(*vaultstore.Config){withTransit(t, s, tt.mount, tt.key), func(c *vaultstore.Config) { m = metered(c) }}
			if tt.change != nil {
				changes = append(changes, tt.change)
			}
			store := open(t, s, s.Mount(t), changes...)
			_, _, err := store.DataKey(t.Context())
			mustGiveUp(t, "data key", err, vaultstore.ErrNoTransit)
			if err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("it does not say %q: %v", tt.text, err)
			}
			_, err = store.OpenKey(t.Context(), wrapped)
			if tt.key != "signing" { // that one opens nothing either, in other words
				mustGiveUp(t, "opening", err, vaultstore.ErrNoTransit, wrapped)
			}
			if tt.change == nil {
				if err := store.Check(t.Context()); err != nil {
					t.Errorf("readiness: %v", err)
				}
			}
			if got := m.value(t, "operations_total", "datakey", "permanent"); got != 1 {
				t.Errorf("counted %v times", got)
			}
		})
	}
}

func TestWrappedKeysThatDoNotOpen(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount, key := s.Transit(t)
	store := open(t, s, s.Mount(t), withTransit(t, s, mount, key))
	plain, wrapped := mustDataKey(t, store)
	_, sealed, _ := strings.Cut(wrapped, "vault:v1:")
	short := s.Call(t, http.MethodPut, mount+"/datakey/wrapped/"+key, map[string]any{"bits": 128})
	for name, bad := range map[string]string{
		"changed":     "vault:v1:" + sealed[:10] + flipped(sealed[10:14]) + sealed[14:],
		"cut":         wrapped[:20],
		"no base64":   "vault:v1:!!!!",
		"no version":  "vault:" + sealed,
		"plain words": "hello",
		"empty":       "",
		"enormous":    "vault:v1:" + strings.Repeat("A", 1<<20),
		"a short key": vaulttest.Data(t, short, "data")["ciphertext"].(string),
	} {
		_, err := store.OpenKey(t.Context(), bad)
		mustGiveUp(t, name, err, vaultstore.ErrCannotOpen, wrapped)
	}
	_, err := store.OpenKey(t.Context(), "vault:v9:"+sealed)
	mustWait(t, "a version that is not there yet", err, false, "later version")

	s.Call(t, http.MethodPost, mount+"/keys/"+key+"/rotate", nil)
	s.Call(t, http.MethodPost, mount+"/keys/"+key+"/config", map[string]any{"min_decryption_version": 2})
	_, err = store.OpenKey(t.Context(), wrapped)
	mustGiveUp(t, "retired", err, vaultstore.ErrCannotOpen, wrapped)
	s.Call(t, http.MethodPost, mount+"/keys/"+key+"/config", map[string]any{"min_decryption_version": 1})
	mustOpen(t, store, wrapped, plain)
}

func flipped(s string) string {
	if s == "AAAA" {
		return "BBBB"
	}
	return "AAAA"
}

func TestTransitOutages(t *testing.T) {
	t.Parallel()
	s := vaulttest.StartOwn(t, "inmem")
	mount, key := s.Transit(t)
	store := open(t, s, "secret", withTransit(t, s, mount, key), func(c *vaultstore.Config) { c.Timeout = 500 * time.Millisecond })
	plain, wrapped := mustDataKey(t, store)
	both := func(what, text string) {
		t.Helper()
		_, _, err := store.DataKey(t.Context())
		mustWait(t, what+": data key", err, false, text)
		_, err = store.OpenKey(t.Context(), wrapped)
		mustWait(t, what+": opening", err, false, text)
	}
	s.Seal(t)
	both("sealed", "sealed")
	s.Unseal(t)
	mustOpen(t, store, wrapped, plain)
	s.Stop(t)
	both("frozen", context.DeadlineExceeded.Error())
	s.Resume(t)
	mustOpen(t, store, wrapped, plain)
	s.Kill(t)
	both("killed", "connection refused")
}

func TestTransitLogsInAgain(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount, key := s.Transit(t)
	kv := s.Mount(t)
	rules := vaulttest.Rules(t, vaulttest.Paths{Mount: kv, Prefix: "team/finx", TransitMount: mount, TransitKey: key})
	role, login := byAppRole(t, s, kv, map[string]any{"token_policies": s.Policy(t, rules)})
	var m meter
	store := open(t, s, kv, login, func(c *vaultstore.Config) {
		c.TransitMount, c.TransitKey = mount, key
		m = metered(c)
	})
	plain, wrapped := mustDataKey(t, store)
	revokeAll(t, s, role)
	mustOpen(t, store, wrapped, plain)
	revokeAll(t, s, role)
	mustDataKey(t, store)
	if got := m.value(t, "logins_total", "ok"); got != 3 {
		t.Errorf("%v logins", got)
	}
	// The role is gone: a login that fails says nothing about the transit key.
	s.Call(t, http.MethodDelete, "auth/"+role.Mount+"/role/connector", nil)
	revokeAll(t, s, role)
	_, _, err := store.DataKey(t.Context())
	mustWait(t, "without a login", err, false, "logging in")
	_, err = store.OpenKey(t.Context(), wrapped)
	mustWait(t, "without a login", err, false, "logging in")
}

func TestTransitPathsAreChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []vaultstore.Config{
		{TransitKey: "a/b"}, {TransitKey: ".."}, {TransitKey: "a b"}, {TransitKey: "k", TransitMount: "a/../b"}, {TransitKey: "k", TransitMount: "/"},
	} {
		c.Token = secret.New(theToken)
		if _, err := vaultstore.New(c); err == nil || !strings.Contains(err.Error(), "transit") {
			t.Errorf("%q %q: %v", c.TransitMount, c.TransitKey, err)
		}
	}
}
