package vaultstore_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// A certificate authority from the settings file must count as one from the
// environment does.
func TestTLSFromTheConfiguration(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"errors":["Vault is sealed"]}`))
	}))
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		tls  vaultstore.TLS
		want string
	}{
		{"unknown authority", vaultstore.TLS{}, "certificate"},
		{"authority named", vaultstore.TLS{CACert: ca}, "sealed"},
		{"not checked", vaultstore.TLS{SkipVerify: true}, "sealed"},
		{"another name expected", vaultstore.TLS{CACert: ca, ServerName: "vault.test"}, "certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, err := vaultstore.New(vaultstore.Config{Address: srv.URL, Token: secret.New("t"), TLS: c.tls})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(store.Close)
			if err := store.Check(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
	if _, err := vaultstore.New(vaultstore.Config{Address: srv.URL, Token: secret.New("t"), TLS: vaultstore.TLS{CACert: "/nowhere/ca.pem"}}); err == nil {
		t.Error("a missing file is no mistake")
	}
}
