package vaultstore_test

import (
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

func noToken(c *vaultstore.Config) { c.Token = secret.Text{} }

func TestConfigIsChecked(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*vaultstore.Config)
		text   string
	}{
		"fine":                 {func(*vaultstore.Config) {}, ""},
		"no token":             {noToken, "needs a token"},
		"unknown auth":         {func(c *vaultstore.Config) { c.Auth = "ldap" }, `"ldap" is none of`},
		"approle without role": {func(c *vaultstore.Config) { c.Auth = vaultstore.AuthAppRole }, "needs a role id"},
		"approle without id":   {func(c *vaultstore.Config) { c.Auth, c.RoleID = vaultstore.AuthAppRole, "r" }, "secret id"},
		"approle with two ids": {func(c *vaultstore.Config) {
			c.Auth, c.RoleID, c.SecretID, c.SecretIDFile = vaultstore.AuthAppRole, "r", secret.New("s"), "f"
		}, "not both"},
		"kubernetes no role":    {func(c *vaultstore.Config) { c.Auth = vaultstore.AuthKubernetes }, "needs a role"},
		"mount climbs":          {func(c *vaultstore.Config) { c.Mount = "secret/../sys" }, "segments of letters"},
		"mount with a query":    {func(c *vaultstore.Config) { c.Mount = "secret?x" }, "segments of letters"},
		"prefix with a gap":     {func(c *vaultstore.Config) { c.Prefix = "a//b" }, "segments of letters"},
		"prefix with a space":   {func(c *vaultstore.Config) { c.Prefix = "a b" }, "segments of letters"},
		"nested mount is fine":  {func(c *vaultstore.Config) { c.Mount, c.Prefix = "/team/kv/", "a/b" }, ""},
		"address of no meaning": {func(c *vaultstore.Config) { c.Address = "http://\x00" }, "making the client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("VAULT_TOKEN", "")
			c := vaultstore.Config{Token: secret.New("hvs.the-token")}
			tt.change(&c)
			_, err := vaultstore.New(c)
			if tt.text == "" && err != nil || tt.text != "" && (err == nil || !strings.Contains(err.Error(), tt.text)) {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "the-token") {
				t.Errorf("shows the token: %v", err)
			}
		})
	}
}

// TestEnvironment: what the settings leave open is read as vault/api reads it.
func TestEnvironment(t *testing.T) {
	s := vault.Start(t)
	mount := s.Mount(t)
	t.Setenv("VAULT_ADDR", s.Addr)
	t.Setenv("VAULT_TOKEN", s.Token)
	store, err := vaultstore.New(vaultstore.Config{Mount: mount})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if _, err := store.Put(t.Context(), vaultstoretest.NewID(), vaultstore.Record{}, 0); err != nil {
		t.Error(err)
	}
	t.Setenv("VAULT_CACERT", "/no/such/file")
	if _, err := vaultstore.New(vaultstore.Config{Mount: mount}); err == nil || !strings.Contains(err.Error(), "environment") {
		t.Errorf("a certificate that is not there: %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "vault.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(answer(503, errorsBody("Vault is sealed")))
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	store, err := vaultstore.New(vaultstore.Config{Address: "unix://" + socket, Token: secret.New("t")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	mustWait(t, "check", store.Check(t.Context()), false, "sealed")
}

// BenchmarkPut updates records of 4 KiB, each worker its own.
func BenchmarkPut(b *testing.B) {
	for _, storage := range []string{"inmem", "raft"} {
		b.Run(storage, func(b *testing.B) {
			s := vaulttest.StartOwn(b, storage)
			mount := s.Mount(b)
			store, err := vaultstore.New(vaultstore.Config{Address: s.Addr, Token: secret.New(s.Token), Mount: mount, Concurrency: 16})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			r := vaultstore.Record{RefreshToken: secret.New(strings.Repeat("x", 4<<10))}
			b.SetParallelism(8)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				id, v := vaultstoretest.NewID(), vaultstore.Version(0)
				for pb.Next() {
					var err error
					if v, err = store.Put(b.Context(), id, r, v); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}
