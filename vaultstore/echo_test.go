package vaultstore_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// echoes refuses with what it was asked, in Vault's form, at most so many bytes of it.
func echoes(status, most int) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		words := "not today: token " + req.Header.Get("X-Vault-Token") + " " + string(body)
		said, _ := json.Marshal(map[string][]string{"errors": {words[:min(most, len(words))]}})
		w.WriteHeader(status)
		_, _ = w.Write(said)
	}
}

func mustNotSay(t *testing.T, err error, secrets ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, s := range secrets {
		if strings.Contains(err.Error(), s[:12]) {
			t.Errorf("%q is in: %v", s, err)
		}
	}
	if !strings.Contains(err.Error(), "not today") || !strings.Contains(err.Error(), "[redacted]") {
		t.Errorf("too much was taken out: %v", err)
	}
}

// TestARefusalThatQuotesTheRequest is that of a gateway or a proxy for debugging.
func TestARefusalThatQuotesTheRequest(t *testing.T) {
	for _, most := range []int{1000, 160, 40} {
		for _, status := range []int{http.StatusBadRequest, http.StatusForbidden, http.StatusInternalServerError} {
			store, _ := scripted(t, echoes(status, most))
			_, err := store.Put(t.Context(), "0191d2a4-7b1c-7c3e-9d52-6f0a3b1c2d3e", vaultstore.Record{RefreshToken: secret.New(theSecret)}, 0)
			mustNotSay(t, err, theToken, theSecret)
		}
	}
}

func TestALoginThatIsQuoted(t *testing.T) {
	const role, id = "b9f6e3a1-the-role-id", "77cd01ff-the-secret-id"
	for _, status := range []int{http.StatusBadRequest, http.StatusForbidden} {
		mux := http.NewServeMux()
		mux.HandleFunc("/v1/sys/health", answer(200, `{"initialized":true,"sealed":false,"version":"1.20.0"}`))
		mux.HandleFunc("/v1/auth/approle/login", echoes(status, 1000))
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)
		store, err := vaultstore.New(vaultstore.Config{Address: server.URL, Auth: vaultstore.AuthAppRole, RoleID: role, SecretID: secret.New(id)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		mustNotSay(t, store.Diagnose(t.Context()).Login, role, id)
		_, _, err = store.Get(t.Context(), "0191d2a4-7b1c-7c3e-9d52-6f0a3b1c2d3e")
		mustNotSay(t, err, role, id)
		if errors.Is(err, vaultstore.ErrNotFound) {
			t.Error("a refused login says that there is no record")
		}
	}
}

// What vault/api cannot read of the environment it quotes.
func TestAProxyThatIsNoURL(t *testing.T) {
	for _, name := range []string{"VAULT_PROXY_ADDR", "VAULT_HTTP_PROXY"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "http://user:canary%zz@proxy.example")
			_, err := vaultstore.New(vaultstore.Config{Address: "http://127.0.0.1:1", Token: secret.New(theToken)})
			if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "canary") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
