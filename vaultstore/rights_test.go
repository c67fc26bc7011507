package vaultstore_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

// withRules makes the store log in under a policy of its own.
func withRules(t *testing.T, s *vaulttest.Server, rules string) func(*vaultstore.Config) {
	t.Helper()
	return func(c *vaultstore.Config) {
		c.Token = secret.New(s.NewToken(t, map[string]any{"policies": []string{s.Policy(t, rules)}}))
	}
}

// TestCheckAsksForTheRights takes one right at a time out of the shipped policy.
func TestCheckAsksForTheRights(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	const dataAll, metaAll, destroyAll = `["create", "read", "update"]`, `["create", "read", "update", "delete", "list"]`, `["create", "update"]`
	for name, tt := range map[string]struct {
		config        map[string]any
		cut, replaced string
		want          []string // in the error; none: green
	}{
		"shipped policy":         {nil, "", "", nil},
		"shipped, keeps five":    {map[string]any{"max_versions": 5}, "", "", nil},
		"read only":              {nil, dataAll, `["read"]`, []string{"/data/team/finx/connections/", "create, update"}},
		"no create":              {nil, dataAll, `["read", "update"]`, []string{"/data/team/finx/connections/", "create"}},
		"no update":              {nil, dataAll, `["read", "create"]`, []string{"/data/team/finx/connections/", "update"}},
		"no read":                {nil, dataAll, `["update", "create"]`, []string{"/data/team/finx/connections/", "read"}},
		"denied":                 {nil, dataAll, `["deny"]`, []string{"/data/team/finx/connections/", "create, update, read"}},
		"metadata read only":     {nil, metaAll, `["read"]`, []string{"/metadata/team/finx/connections/", "create, update, delete"}},
		"metadata without erase": {nil, metaAll, `["create", "read", "update", "list"]`, []string{"/metadata/team/finx/connections/", "delete"}},
		"no limit needed":        {map[string]any{"max_versions": 1}, metaAll, `["read", "delete", "list"]`, nil},
		"no destroy, keeps five": {map[string]any{"max_versions": 5}, destroyAll, `["create"]`, []string{"/destroy/team/finx/connections/", "update"}},
		"no destroy, not needed": {nil, destroyAll, `["deny"]`, nil},
		"no destroy, blind":      {nil, destroyAll, `["deny"]`, []string{"/destroy/team/finx/connections/", "update"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount := s.Mount(t, tt.config)
			rules := vaulttest.KV2Rules(t, mount, "team/finx")
			if strings.Count(rules, tt.cut) != 1 && tt.cut != "" {
				t.Fatalf("the shipped policy has changed: %s", rules)
			}
			if tt.cut != "" {
				rules = strings.Replace(rules, tt.cut, tt.replaced, 1)
			}
			if strings.HasSuffix(name, "blind") {
				rules += `path "` + mount + `/config" { capabilities = ["deny"] }`
			}
			err := open(t, s, mount, withRules(t, s, rules)).Check(t.Context())
			if tt.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			mustWait(t, "check", err, false, tt.want[0])
			if err != nil && !strings.Contains(err.Error(), "may not "+tt.want[1]+" "+mount+tt.want[0]) {
				t.Errorf("got %v, want it to name %v", err, tt.want)
			}
		})
	}
}

// TestCheckWithoutTheRightToAskForRights: the tokens of a role without the
// default policy cannot be judged, which is no reason to stand still.
func TestCheckWithoutTheRightToAskForRights(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	_, login := byAppRole(t, s, mount, map[string]any{"token_no_default_policy": true})
	var logged bytes.Buffer
	var m meter
	store := open(t, s, mount, login, func(c *vaultstore.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		m = metered(c)
	})
	for range 3 {
		if err := store.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(logged.String(), "sys/capabilities-self"); got != 1 {
		t.Errorf("said %d times:\n%s", got, logged.String())
	}
	if got := m.value(t, "logins_total", "ok"); got != 1 {
		t.Errorf("%v logins", got)
	}
}

// TestIgnoredNamespaceIsRefused: the community edition writes to its root, and
// answers a token of few rights 403 before it would say that it has no
// namespaces.
func TestIgnoredNamespaceIsRefused(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	for name, change := range map[string]func(*vaultstore.Config){
		"least rights": func(*vaultstore.Config) {},
		"root":         func(c *vaultstore.Config) { c.Token = secret.New(s.Token) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := open(t, s, mount, change, func(c *vaultstore.Config) { c.Namespace = "team-a" })
			mustWait(t, "check", store.Check(t.Context()), false, `would ignore "team-a"`)
			_, err := store.Put(t.Context(), vaultstoretest.NewID(), vaultstore.Record{RefreshToken: secret.New("r")}, 0)
			mustWait(t, "put", err, false, "would ignore")
		})
	}
}
