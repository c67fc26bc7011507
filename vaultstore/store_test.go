package vaultstore_test

import (
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

var vault vaulttest.Shared

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int { return l.m.Run() }

func TestMain(m *testing.M) {
	code := vault.Run(leakChecked{m})
	if err := goleak.Find(); err != nil && code == 0 {
		println(err.Error())
		code = 1
	}
	os.Exit(code)
}

// open returns a store with a token of least rights on a fresh mount.
func open(t *testing.T, s *vaulttest.Server, mount string, change ...func(*vaultstore.Config)) *vaultstore.Store {
	t.Helper()
	c := vaultstore.Config{
		Address: s.Addr, Mount: mount, Prefix: "team/finx", Concurrency: 16,
		Token: secret.New(s.NewToken(t, map[string]any{"policies": []string{s.Policy(t, vaulttest.KV2Rules(t, mount, "team/finx"))}})),
	}
	for _, f := range change {
		f(&c)
	}
	store, err := vaultstore.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

func TestRealVaultKeepsTheContract(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]map[string]any{
		"mount without limit":  {},
		"mount keeps one":      {"max_versions": 1},
		"mount keeps five":     {"max_versions": 5},
		"mount requires a cas": {"cas_required": true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := vault.Start(t)
			vaultstoretest.Run(t, func(t *testing.T) vaultstoretest.Store { return open(t, s, s.Mount(t, config)) })
		})
	}
}

func TestSupersededVersionsCannotBeReadBack(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	for name, tt := range map[string]struct {
		config map[string]any
		blind  bool // the policies do not let us read the mount's configuration
	}{
		"mount without limit":       {map[string]any{}, false},
		"mount keeps one":           {map[string]any{"max_versions": 1}, false},
		"mount keeps five":          {map[string]any{"max_versions": 5}, false},
		"mount without limit blind": {map[string]any{}, true},
		"mount keeps five blind":    {map[string]any{"max_versions": 5}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount := s.Mount(t, tt.config)
			store := open(t, s, mount, func(c *vaultstore.Config) {
				if tt.blind {
					rules := vaulttest.KV2Rules(t, mount, "team/finx") + `path "` + mount + `/config" { capabilities = ["deny"] }`
					c.Token = secret.New(s.NewToken(t, map[string]any{"policies": []string{s.Policy(t, rules)}}))
				}
			})
			id := vaultstoretest.NewID()
			var v vaultstore.Version
			for range 4 {
				var err error
				if v, err = store.Put(t.Context(), id, vaultstore.Record{RefreshToken: secret.New("r")}, v); err != nil {
					t.Fatal(err)
				}
			}
			for _, old := range []string{"1", "2", "3"} {
				path := mount + "/data/team/finx/connections/" + id + "?version=" + old
				s.Call(t, http.MethodPost, mount+"/undelete/team/finx/connections/"+id, map[string]any{"versions": []string{old}})
				if status, answer, err := s.Try(t.Context(), s.Token, http.MethodGet, path, nil); status != http.StatusNotFound || err != nil {
					t.Errorf("version %s: status %d, %v, %v", old, status, answer, err)
				}
			}
			if _, got, err := store.Get(t.Context(), id); got != 4 || err != nil {
				t.Errorf("the newest: version %d, %v", got, err)
			}
			if n, err := store.Erase(t.Context(), id); n != 1 || err != nil {
				t.Errorf("erased %d versions, %v", n, err)
			}
		})
	}
}
