package deploy_test

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

var vault vaulttest.Shared

func TestMain(m *testing.M) { os.Exit(vault.Run(m)) }

// setup is a run of setup.sh.
type setup struct {
	t   *testing.T
	srv *vaulttest.Server
	env map[string]string
}

// newSetup is for paths that nothing is at yet.
func newSetup(t *testing.T) *setup {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("setup.sh needs curl, and this machine has none")
	}
	s := vault.Start(t)
	name := strings.ToLower(vaulttest.Name("finx"))
	t.Cleanup(func() {
		for _, path := range []string{
			"sys/mounts/" + name + "-kv", "sys/mounts/" + name + "-transit", "sys/auth/" + name,
			"sys/policies/acl/" + name, "sys/policies/acl/" + name + "-operator",
		} {
			_, _, _ = s.Try(t.Context(), s.Token, http.MethodDelete, path, nil) // the server may be gone first
		}
	})
	return &setup{t: t, srv: s, env: map[string]string{
		"VAULT_ADDR": s.Addr, "VAULT_TOKEN": s.Token, "VAULT_KV_MOUNT": name + "-kv", "VAULT_KV_PREFIX": "team/finx",
		"VAULT_TRANSIT_MOUNT": name + "-transit", "VAULT_AUTH_MOUNT": name, "ROLE": name,
		"SECRET_ID_FILE": filepath.Join(t.TempDir(), "secret-id"),
	}}
}

// run runs the script and returns what it printed.
func (s *setup) run(change map[string]string) (code int, env map[string]string, said string) {
	s.t.Helper()
	cmd := exec.Command("sh", "vault/setup.sh")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	all := maps.Clone(s.env)
	maps.Copy(all, change)
	for name, value := range all {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	env = map[string]string{}
	for line := range strings.Lines(out.String()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[name] = value
	}
	if text := out.String() + errs.String(); strings.Contains(text, s.srv.Token+"\n") {
		s.t.Errorf("the token was printed:\n%s", text)
	}
	return cmd.ProcessState.ExitCode(), env, errs.String()
}

// open returns a store that logs in with what the script printed.
func open(t *testing.T, env map[string]string, change func(*vaultstore.Config)) *vaultstore.Store {
	t.Helper()
	c := vaultstore.Config{
		Address: env["VAULT_ADDR"], Auth: env["VAULT_AUTH"], AuthMount: env["VAULT_AUTH_MOUNT"],
		RoleID: env["VAULT_ROLE_ID"], SecretIDFile: env["VAULT_SECRET_ID_FILE"], K8sRole: env["VAULT_K8S_ROLE"],
		Mount: env["VAULT_KV_MOUNT"], Prefix: env["VAULT_KV_PREFIX"], TransitMount: env["VAULT_TRANSIT_MOUNT"], TransitKey: env["VAULT_TRANSIT_KEY"],
	}
	if change != nil {
		change(&c)
	}
	store, err := vaultstore.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

// TestSetupMakesAVaultThatTheConnectorWorksOn runs the script twice on a Vault that
// has nothing of it, and the store's contract with the login it made.
func TestSetupMakesAVaultThatTheConnectorWorksOn(t *testing.T) {
	s := newSetup(t)
	code, env, said := s.run(nil)
	if code != 0 || strings.Count(said, "made ")+strings.Count(said, "wrote ") != 9 {
		t.Fatalf("exit code %d:\n%s", code, said)
	}
	if info, err := os.Stat(env["VAULT_SECRET_ID_FILE"]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret id: %v, %v", info, err)
	}
	before := s.everything()
	code, again, said := s.run(nil)
	if code != 0 || strings.Contains(said, "made ") || strings.Contains(said, "wrote ") {
		t.Errorf("the second run: exit code %d:\n%s", code, said)
	}
	if !maps.Equal(env, again) {
		t.Errorf("the second run says %v, the first %v", again, env)
	}
	if after := s.everything(); after != before {
		t.Errorf("the second run changed:\n%s\n%s", before, after)
	}
	t.Run("contract", func(t *testing.T) {
		vaultstoretest.Run(t, func(t *testing.T) vaultstoretest.Store {
			// Each test of the suite wants an empty one; what is below the prefix is the connector's.
			return open(t, env, func(c *vaultstore.Config) { c.Prefix += "/" + vaultstoretest.NewID() })
		})
	})
	store := open(t, env, nil)
	if err := store.Check(t.Context()); err != nil {
		t.Error(err)
	}
	key, wrapped, err := store.DataKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := store.OpenKey(t.Context(), wrapped); err != nil || !bytes.Equal(opened, key) {
		t.Errorf("the data key does not come back: %v", err)
	}
}

// everything is how the Vault is set up, as far as the script does that.
func (s *setup) everything() string {
	s.t.Helper()
	text := ""
	for _, path := range []string{
		"sys/mounts/" + s.env["VAULT_KV_MOUNT"], s.env["VAULT_KV_MOUNT"] + "/config", s.env["VAULT_TRANSIT_MOUNT"] + "/keys/finx-escrow",
		"sys/policies/acl/" + s.env["ROLE"], "sys/policies/acl/" + s.env["ROLE"] + "-operator", "sys/auth/" + s.env["VAULT_AUTH_MOUNT"],
		"auth/" + s.env["VAULT_AUTH_MOUNT"] + "/role/" + s.env["ROLE"],
	} {
		answer := s.srv.Call(s.t, http.MethodGet, path, nil)
		delete(answer, "request_id")
		text += path + " " + jsonText(s.t, answer) + "\n"
	}
	return text
}

// TestSetupMendsWhatIsNotAsItShouldBe changes what the script made, one thing at a time.
func TestSetupMendsWhatIsNotAsItShouldBe(t *testing.T) {
	s := newSetup(t)
	if code, _, said := s.run(nil); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, said)
	}
	kv, transit, role := s.env["VAULT_KV_MOUNT"], s.env["VAULT_TRANSIT_MOUNT"], "auth/"+s.env["VAULT_AUTH_MOUNT"]+"/role/"+s.env["ROLE"]
	for name, tt := range map[string]struct {
		path string
		body map[string]any
		says string
	}{
		"more versions":       {kv + "/config", map[string]any{"max_versions": 5, "cas_required": true}, "wrote configuration of " + kv},
		"blind writes":        {kv + "/config", map[string]any{"max_versions": 1, "cas_required": false}, "wrote configuration of " + kv},
		"a key to delete":     {transit + "/keys/finx-escrow/config", map[string]any{"deletion_allowed": true}, "wrote key"},
		"a wider policy":      {"sys/policies/acl/" + s.env["ROLE"], map[string]any{"policy": `path "*" { capabilities = ["read"] }`}, "wrote policy " + s.env["ROLE"]},
		"another policy":      {role, map[string]any{"token_policies": "root-like"}, "wrote role"},
		"a token for a month": {role, map[string]any{"token_max_ttl": "720h"}, "wrote role"},
		"one use":             {role, map[string]any{"secret_id_num_uses": 1}, "wrote role"},
		"from one network":    {role, map[string]any{"secret_id_bound_cidrs": "10.0.0.0/8"}, "wrote role"},
	} {
		before := s.everything()
		s.srv.Call(t, http.MethodPost, tt.path, tt.body)
		code, _, said := s.run(nil)
		if code != 0 || strings.Count(said, "wrote ") != 1 || !strings.Contains(said, tt.says) {
			t.Errorf("%s: exit code %d:\n%s", name, code, said)
		}
		if after := s.everything(); after != before {
			t.Errorf("%s:\n%s\n%s", name, before, after)
		}
	}
}

func TestSetupBindsToNetworks(t *testing.T) {
	s := newSetup(t)
	s.env["BOUND_CIDRS"] = "10.1.0.0/16,10.2.0.0/16"
	code, env, said := s.run(nil)
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, said)
	}
	if code, _, said := s.run(nil); code != 0 || strings.Contains(said, "wrote ") {
		t.Errorf("the second run: exit code %d:\n%s", code, said)
	}
	if err := open(t, env, nil).Check(t.Context()); err == nil { // we come from 127.0.0.1
		t.Error("a login from another network was taken")
	}
	s.env["BOUND_CIDRS"] = "127.0.0.0/8"
	if code, _, said := s.run(nil); code != 0 || strings.Count(said, "wrote ") != 1 {
		t.Errorf("another network: exit code %d:\n%s", code, said)
	}
	if err := os.Remove(env["VAULT_SECRET_ID_FILE"]); err != nil {
		t.Fatal(err)
	}
	_, env, _ = s.run(nil) // an id keeps the networks of its making
	if err := open(t, env, nil).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSetupKeepsToItsPaths has a mount with the word of the policy's prefix in it.
func TestSetupKeepsToItsPaths(t *testing.T) {
	s := newSetup(t)
	parent := s.env["VAULT_KV_MOUNT"]
	s.env["VAULT_KV_MOUNT"], s.env["VAULT_KV_PREFIX"] = parent+"/finx", "bank"
	t.Cleanup(func() { // the test's context is over by then
		_, _, _ = s.srv.Try(context.Background(), s.srv.Token, http.MethodDelete, "sys/mounts/"+parent+"/finx", nil) //nolint:usetesting // see above
	})
	// As somebody may have left it there, to be filled in again.
	if err := os.WriteFile(s.env["SECRET_ID_FILE"], nil, 0o644); err != nil {
		t.Fatal(err)
	}
	code, env, said := s.run(map[string]string{"VAULT_ADDR": s.srv.Addr + "/"})
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, said)
	}
	if info, err := os.Stat(env["VAULT_SECRET_ID_FILE"]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret id: %v, %v", info, err)
	}
	if _, err := open(t, env, nil).Put(t.Context(), vaultstoretest.NewID(), vaultstore.Record{RefreshToken: secret.New("r")}, 0); err != nil {
		t.Errorf("below %s/bank: %v", s.env["VAULT_KV_MOUNT"], err)
	}
	status, _, err := s.srv.Try(t.Context(), s.token(""), http.MethodGet, parent+"/bank/data/finx/x", nil)
	if status != http.StatusForbidden {
		t.Errorf("the policy reaches %s/bank: %d %v", parent, status, err)
	}
}

func TestSetupForKubernetes(t *testing.T) {
	s := newSetup(t)
	k := s.srv.Kubernetes(t, nil)
	s.env["VAULT_AUTH"], s.env["VAULT_AUTH_MOUNT"], s.env["K8S_SERVICE_ACCOUNT"] = "kubernetes", k.Mount, "connector"
	code, env, said := s.run(nil)
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, said)
	}
	if code, _, said := s.run(nil); code != 0 || strings.Contains(said, "wrote ") {
		t.Errorf("the second run: exit code %d:\n%s", code, said)
	}
	jwt := filepath.Join(t.TempDir(), "jwt")
	if err := os.WriteFile(jwt, []byte(k.JWT("pod")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, env, func(c *vaultstore.Config) { c.K8sJWTPath = jwt }).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSetupSaysWhatIsWrong(t *testing.T) {
	s := newSetup(t)
	s.srv.Call(t, http.MethodPost, "sys/mounts/"+s.env["VAULT_KV_MOUNT"], map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	s.srv.Call(t, http.MethodPost, "sys/mounts/"+s.env["VAULT_TRANSIT_MOUNT"], map[string]any{"type": "transit"})
	s.srv.Call(t, http.MethodPost, s.env["VAULT_TRANSIT_MOUNT"]+"/keys/loose", map[string]any{"exportable": true})
	for name, tt := range map[string]struct {
		change map[string]string
		code   int
		says   string
	}{
		"no address":                {map[string]string{"VAULT_ADDR": ""}, 2, "VAULT_ADDR is not set"},
		"no token":                  {map[string]string{"VAULT_TOKEN": ""}, 2, "VAULT_TOKEN or VAULT_TOKEN_FILE"},
		"another login":             {map[string]string{"VAULT_AUTH": "ldap"}, 2, "approle or kubernetes"},
		"an injected name":          {map[string]string{"ROLE": `x","a":"b`}, 2, "ROLE holds a character"},
		"a path upwards":            {map[string]string{"VAULT_KV_PREFIX": "../x"}, 2, "VAULT_KV_PREFIX is no path"},
		"a path from the root":      {map[string]string{"VAULT_KV_MOUNT": "/x"}, 2, "VAULT_KV_MOUNT is no path"},
		"a role with a slash":       {map[string]string{"ROLE": "a/b"}, 2, "ROLE is one name"},
		"nowhere to put a login":    {map[string]string{"VAULT_KV_MOUNT": s.env["VAULT_KV_MOUNT"] + "2", "SECRET_ID_FILE": "/proc/none/secret-id"}, 1, "/proc/none/secret-id cannot be written"},
		"nobody there":              {map[string]string{"VAULT_ADDR": "http://127.0.0.1:1"}, 1, "does not answer"},
		"a token of no use":         {map[string]string{"VAULT_TOKEN": "hvs.nothing"}, 1, "status 403"},
		"KV of version 1":           {nil, 1, "version 1"},
		"a key that leaves":         {map[string]string{"VAULT_KV_MOUNT": s.env["VAULT_KV_MOUNT"] + "2", "VAULT_TRANSIT_KEY": "loose"}, 1, "can leave Vault"},
		"an engine of another kind": {map[string]string{"VAULT_KV_MOUNT": s.env["VAULT_TRANSIT_MOUNT"]}, 1, "not as kv"},
	} {
		if code, _, said := s.run(tt.change); code != tt.code || !strings.Contains(said, tt.says) {
			t.Errorf("%s: exit code %d:\n%s", name, code, said)
		}
	}
	s.srv.Call(t, http.MethodDelete, "sys/mounts/"+s.env["VAULT_KV_MOUNT"]+"2", nil)
}
