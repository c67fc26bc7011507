package vaultstore_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
	"github.com/finx-connector/finx-connector/vaultstore"
)

func TestDiagnosingAHealthyVault(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t, map[string]any{"cas_required": true, "max_versions": 1})
	transit, key := s.Transit(t)
	rules := vaulttest.Rules(t, vaulttest.Paths{Mount: mount, Prefix: "team/finx", TransitMount: transit, TransitKey: key})
	d := open(t, s, mount, func(c *vaultstore.Config) {
		c.Token = secret.New(s.NewToken(t, map[string]any{"policies": []string{s.Policy(t, rules)}, "period": "1h"}))
		c.TransitMount, c.TransitKey = transit, key
	}).Diagnose(t.Context())
	if err := errors.Join(d.Reached, d.Login, d.Mount, d.Transit); err != nil || d.Server == nil || d.Token == nil || d.KV == nil || d.Rights == nil {
		t.Fatalf("%+v: %v", d, err)
	}
	if !d.Server.Initialized || d.Server.Sealed || d.Server.Version == "" || d.Server.Namespace != nil || d.Server.Heard.Sub(d.Server.Time).Abs() > 5*time.Second || d.Latency <= 0 {
		t.Errorf("%+v", d.Server)
	}
	if d.Token.Period != time.Hour || d.Token.TTL <= 0 || !d.Token.Renewable || !slices.Contains(d.Token.Policies, "default") || d.Token.Type != "service" {
		t.Errorf("%+v", d.Token)
	}
	if !d.KV.Visible || !d.KV.CASRequired || d.KV.MaxVersions != 1 || d.KV.Path != mount {
		t.Errorf("%+v", d.KV)
	}
	if r := d.Rights; r.Root || len(r.Missing)+len(r.Lacking)+len(r.Excess) != 0 {
		t.Errorf("the shipped policy: %+v", r)
	}
}

// TestDiagnosingTheShippedPolicy: whatever the mount keeps, the shipped policy
// is neither short nor wide.
func TestDiagnosingTheShippedPolicy(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	for _, most := range []int{0, 1, 5} {
		d := open(t, s, s.Mount(t, map[string]any{"max_versions": most})).Diagnose(t.Context())
		if d.Rights == nil || len(d.Rights.Missing)+len(d.Rights.Lacking)+len(d.Rights.Excess) != 0 {
			t.Errorf("mount that keeps %d: %+v", most, d.Rights)
		}
		if !errors.Is(d.Transit, vaultstore.ErrNoTransit) {
			t.Errorf("without a key: %v", d.Transit)
		}
	}
}

func TestDiagnosingExcess(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	for rule, want := range map[string]vaultstore.Reach{
		`path "` + mount + `/data/*" { capabilities = ["read"] }`:          vaultstore.OverSecrets,
		`path "sys/mounts/*" { capabilities = ["update"] }`:                vaultstore.OverVault,
		`path "auth/token/create-orphan" { capabilities = ["update"] }`:    vaultstore.OverVault,
		`path "transit/keys/escrow" { capabilities = ["read", "delete"] }`: vaultstore.OverKeys,
	} {
		d := open(t, s, mount, withRules(t, s, vaulttest.Rules(t, vaulttest.Paths{Mount: mount, Prefix: "team/finx", TransitKey: "escrow"})+rule),
			func(c *vaultstore.Config) { c.TransitKey = "escrow" }).Diagnose(t.Context())
		if d.Rights == nil || len(d.Rights.Excess) == 0 || d.Rights.Excess[0].Over != want || len(d.Rights.Missing) != 0 {
			t.Errorf("%s: %+v", rule, d.Rights)
		}
	}
	d := open(t, s, mount, func(c *vaultstore.Config) { c.Token = secret.New(s.Token) }).Diagnose(t.Context())
	if d.Rights == nil || !d.Rights.Root {
		t.Errorf("root: %+v", d.Rights)
	}
}

// TestDiagnosingStops where nothing further can be asked, and says why.
func TestDiagnosingStops(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	v1 := vaulttest.Name("kv")
	s.Call(t, http.MethodPost, "sys/mounts/"+v1, map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	for name, tt := range map[string]struct {
		change func(*vaultstore.Config)
		why    func(vaultstore.Diagnosis) error
		says   string
	}{
		"nobody there":  {func(c *vaultstore.Config) { c.Address = "http://127.0.0.1:1" }, func(d vaultstore.Diagnosis) error { return d.Reached }, "refused"},
		"another thing": {func(c *vaultstore.Config) { c.Address = other.URL }, func(d vaultstore.Diagnosis) error { return d.Reached }, "health"},
		"no such token": {func(c *vaultstore.Config) { c.Token = secret.New("canary-token") }, func(d vaultstore.Diagnosis) error { return d.Login }, "expired or revoked"},
		"ignores it":    {func(c *vaultstore.Config) { c.Namespace = "team-a" }, func(d vaultstore.Diagnosis) error { return d.Server.Namespace }, "would ignore"},
		"no file":       {func(c *vaultstore.Config) { c.Token, c.TokenFile = secret.Text{}, "/no/such/token" }, func(d vaultstore.Diagnosis) error { return d.Login }, "token file"},
		"version 1":     {func(c *vaultstore.Config) { c.Mount, c.Token = v1, secret.New(s.Token) }, func(d vaultstore.Diagnosis) error { return d.Mount }, "no KV v2 engine"},
		"no mount":      {func(c *vaultstore.Config) { c.Mount = "nowhere" }, func(d vaultstore.Diagnosis) error { return d.Mount }, "no such mount"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, s, mount, tt.change).Diagnose(t.Context())
			err := tt.why(d)
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "canary") || d.Rights != nil || d.KV != nil {
				t.Errorf("%v, %+v", err, d)
			}
			if (name == "version 1") != errors.Is(d.Mount, vaultstore.ErrNoKV2) {
				t.Errorf("mount: %v", d.Mount)
			}
		})
	}
}

func TestDiagnosingASealedVault(t *testing.T) {
	t.Parallel()
	s := vaulttest.StartOwn(t, "inmem")
	mount := s.Mount(t)
	store := open(t, s, mount)
	s.Seal(t)
	d := store.Diagnose(t.Context())
	if d.Reached != nil || d.Server == nil || !d.Server.Sealed || !d.Server.Initialized || d.Server.Time.IsZero() || d.Login != nil || d.Token != nil {
		t.Errorf("%+v", d)
	}
	s.Unseal(t)
	if d = store.Diagnose(t.Context()); d.Server == nil || d.Server.Sealed || d.Rights == nil {
		t.Errorf("unsealed: %+v", d)
	}
}

// TestDiagnosingWithoutTheDefaultPolicy: a token that may not look at itself is alive
// all the same.
func TestDiagnosingWithoutTheDefaultPolicy(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	_, login := byAppRole(t, s, mount, map[string]any{"token_no_default_policy": true})
	d := open(t, s, mount, login).Diagnose(t.Context())
	if d.Login != nil || d.Token != nil || d.Mount != nil || d.KV == nil || d.Rights != nil {
		t.Errorf("%+v", d)
	}
}
