package vaulttest_test

import (
	"context"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/vaulttest"
)

var shared vaulttest.Shared

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

func TestMountIsFreshAndVersioned(t *testing.T) {
	t.Parallel()
	s := shared.Start(t)
	a, b := s.Mount(t), s.Mount(t, map[string]any{"max_versions": 1})
	s.Call(t, http.MethodPost, a+"/data/x", map[string]any{"data": map[string]any{"k": "v"}})
	if status, _, err := s.Try(t.Context(), s.Token, http.MethodGet, b+"/data/x", nil); status != http.StatusNotFound || err != nil {
		t.Errorf("the mounts share a key: %d, %v", status, err)
	}
	got := vaulttest.Data(t, s.Call(t, http.MethodGet, b+"/config", nil), "data")["max_versions"]
	if got != float64(1) {
		t.Errorf("max_versions %v", got)
	}
}

func TestSealAndUnseal(t *testing.T) {
	t.Parallel()
	s := vaulttest.StartOwn(t, "inmem")
	s.Seal(t)
	if got := health(t, s); got != http.StatusServiceUnavailable {
		t.Errorf("sealed: health %d", got)
	}
	s.Unseal(t)
	if got := health(t, s); got != http.StatusOK {
		t.Errorf("unsealed: health %d", got)
	}
}

func TestFreezeAndThaw(t *testing.T) {
	t.Parallel()
	s := vaulttest.StartOwn(t, "inmem")
	s.Stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := s.Try(ctx, "", http.MethodGet, "sys/health", nil); err == nil {
		t.Error("a frozen server answered")
	}
	s.Resume(t)
	if got := health(t, s); got != http.StatusOK {
		t.Errorf("thawed: health %d", got)
	}
}

func TestDataOutlivesACrash(t *testing.T) {
	t.Parallel()
	for _, storage := range []string{"file", "raft"} {
		t.Run(storage, func(t *testing.T) {
			t.Parallel()
			s := vaulttest.StartOwn(t, storage)
			addr := s.Addr
			s.Call(t, http.MethodPost, "secret/data/x", map[string]any{"data": map[string]any{"k": "v"}})
			s.Kill(t)
			s.Restart(t)
			if s.Addr != addr {
				t.Errorf("another address: %s, was %s", s.Addr, addr)
			}
			data := vaulttest.Data(t, s.Call(t, http.MethodGet, "secret/data/x", nil), "data")
			if vaulttest.Data(t, data, "data")["k"] != "v" {
				t.Error("the data is gone")
			}
		})
	}
}

func TestLogins(t *testing.T) {
	t.Parallel()
	s := shared.Start(t)
	role := s.AppRole(t, map[string]any{"token_policies": s.Policy(t, vaulttest.KV2Rules(t, "kv", "p"))})
	login := map[string]any{"role_id": role.RoleID, "secret_id": role.SecretID(t)}
	s.Call(t, http.MethodPost, "auth/"+role.Mount+"/login", login)

	k := s.Kubernetes(t, nil)
	jwt := k.JWT("one")
	body := map[string]any{"role": k.Role, "jwt": jwt}
	s.Call(t, http.MethodPost, "auth/"+k.Mount+"/login", body)
	k.Expire(jwt)
	if status, _, err := s.Try(t.Context(), "", http.MethodPost, "auth/"+k.Mount+"/login", body); status != http.StatusForbidden || err != nil {
		t.Errorf("an expired JWT: %d, %v", status, err)
	}
	if got := k.Reviewed(); len(got) != 2 || got[0] != jwt {
		t.Errorf("%d reviews", len(got))
	}

	wrapped := s.Wrap(t, map[string]any{"secret_id": "x"})
	_, answer, err := s.Try(t.Context(), wrapped, http.MethodPost, "sys/wrapping/unwrap", nil)
	if err != nil || vaulttest.Data(t, answer, "data")["secret_id"] != "x" {
		t.Errorf("unwrapping: %v, %v", answer, err)
	}
}

func health(t *testing.T, s *vaulttest.Server) int {
	t.Helper()
	status, _, err := s.Try(t.Context(), "", http.MethodGet, "sys/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func TestRulesAndTransit(t *testing.T) {
	t.Parallel()
	s := shared.Start(t)
	mount, key := s.Transit(t)
	token := s.NewToken(t, map[string]any{"policies": []string{s.Policy(t, vaulttest.Rules(t, vaulttest.Paths{TransitMount: mount, TransitKey: key}))}})
	status, answer, err := s.Try(t.Context(), token, http.MethodPut, mount+"/datakey/plaintext/"+key, map[string]any{"bits": 256})
	if status != http.StatusOK || err != nil {
		t.Fatalf("a data key: %d, %v, %v", status, answer["errors"], err)
	}
	sealed := map[string]any{"ciphertext": vaulttest.Data(t, answer, "data")["ciphertext"]}
	if status, answer, err := s.Try(t.Context(), token, http.MethodPut, mount+"/decrypt/"+key, sealed); status != http.StatusOK || err != nil {
		t.Errorf("opening it: %d, %v, %v", status, answer["errors"], err)
	}
	for _, path := range []string{"/encrypt/", "/keys/", "/export/encryption-key/", "/datakey/wrapped/"} {
		if status, _, err := s.Try(t.Context(), token, http.MethodPut, mount+path+key, map[string]any{"bits": 256}); status != http.StatusForbidden || err != nil {
			t.Errorf("%s: %d, %v: more than is needed is allowed", path, status, err)
		}
	}
}
