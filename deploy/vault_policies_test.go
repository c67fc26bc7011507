package deploy_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

func jsonText(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// attempt is a call of Vault's API.
type attempt struct {
	method, path string
	body         map[string]any
}

func (a attempt) String() string { return a.method + " " + a.path }

// TestPoliciesAllowWhatTheySayAndNothingElse logs in as each kind of person and tries.
func TestPoliciesAllowWhatTheySayAndNothingElse(t *testing.T) {
	s := newSetup(t)
	code, env, said := s.run(nil)
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, said)
	}
	id := vaultstoretest.NewID()
	if _, err := open(t, env, nil).Put(t.Context(), id, vaultstore.Record{RefreshToken: secret.New("r")}, 0); err != nil {
		t.Fatal(err)
	}
	kv, transit := env["VAULT_KV_MOUNT"], env["VAULT_TRANSIT_MOUNT"]
	secretPath, other := kv+"/data/team/finx/connections/"+id, kv+"/data/team/other"
	s.srv.Call(t, http.MethodPost, other, map[string]any{"data": map[string]string{"a": "b"}, "options": map[string]int{"cas": 0}})
	s.srv.Call(t, http.MethodPut, "sys/policies/acl/"+env["VAULT_AUTH_MOUNT"]+"-glass", map[string]any{"policy": rules(t, "finx-break-glass.hcl", env)})

	get, post, put, del, list := http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, "LIST"
	never := forNobody(env, other)
	for who, tt := range map[string]struct {
		policy   string
		may, not []attempt
	}{
		"connector": {"", []attempt{
			{get, secretPath, nil},
			{list, kv + "/metadata/team/finx/connections", nil},
			{get, kv + "/config", nil},
			{post, transit + "/datakey/plaintext/finx-escrow", nil},
		}, []attempt{
			{get, transit + "/keys/finx-escrow", nil}, {del, secretPath, nil}, {put, kv + "/delete/team/finx/connections/" + id, map[string]any{"versions": []int{1}}},
		}},
		"operator": {"-operator", []attempt{
			{get, kv + "/metadata/team/finx/connections/" + id, nil}, {list, kv + "/metadata/team/finx/connections", nil}, {get, kv + "/config", nil}, {get, transit + "/keys/finx-escrow", nil},
		}, []attempt{
			{get, secretPath, nil},
			{post, secretPath, map[string]any{"data": map[string]string{}, "options": map[string]int{"cas": 1}}},
			{del, kv + "/metadata/team/finx/connections/" + id, nil},
			{post, kv + "/metadata/team/finx/connections/" + id, map[string]any{"max_versions": 9}},
			{get, kv + "/subkeys/team/finx/connections/" + id, nil},
			{post, transit + "/datakey/plaintext/finx-escrow", nil},
			{post, transit + "/decrypt/finx-escrow", map[string]any{"ciphertext": "vault:v1:x"}},
		}},
		"break glass": {"-glass", []attempt{{get, secretPath, nil}}, []attempt{
			{list, kv + "/metadata/team/finx/connections", nil},
			{post, secretPath, map[string]any{"data": map[string]string{}, "options": map[string]int{"cas": 1}}},
			{del, kv + "/metadata/team/finx/connections/" + id, nil},
			{post, transit + "/datakey/plaintext/finx-escrow", nil},
		}},
	} {
		token := s.token(tt.policy)
		for _, a := range tt.may {
			if status, answer, err := s.srv.Try(t.Context(), token, a.method, a.path, a.body); status/100 != 2 {
				t.Errorf("%s may not %s: %d %v %v", who, a, status, answer["errors"], err)
			}
		}
		for _, a := range append(never, tt.not...) {
			if status, _, err := s.srv.Try(t.Context(), token, a.method, a.path, a.body); status != http.StatusForbidden {
				t.Errorf("%s may %s: %d %v", who, a, status, err)
			}
		}
	}
}

// forNobody are the calls that none of the policies allows. other is a secret beside
// the connector's.
func forNobody(env map[string]string, other string) []attempt {
	kv, transit, auth := env["VAULT_KV_MOUNT"], env["VAULT_TRANSIT_MOUNT"], env["VAULT_AUTH_MOUNT"]
	get, post, put, del, list := http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, "LIST"
	return []attempt{
		{get, other, nil},
		{post, other, map[string]any{"data": map[string]string{"a": "c"}, "options": map[string]int{"cas": 1}}},
		{list, kv + "/metadata/team", nil},
		{list, kv + "/metadata", nil},
		{get, "sys/mounts", nil},
		{get, "sys/auth", nil},
		{get, "sys/policies/acl", nil},
		{put, "sys/policies/acl/mine", map[string]any{"policy": `path "*" { capabilities = ["read"] }`}},
		{del, "sys/policies/acl/" + env["VAULT_AUTH_MOUNT"], nil},
		{post, "sys/mounts/mine", map[string]any{"type": "kv"}},
		{del, "sys/mounts/" + kv, nil},
		{post, kv + "/config", map[string]any{"cas_required": false}},
		{post, "auth/token/create", map[string]any{}},
		{post, "auth/token/create-orphan", map[string]any{}},
		{get, transit + "/export/encryption-key/finx-escrow", nil},
		{get, transit + "/backup/finx-escrow", nil},
		{post, transit + "/keys/finx-escrow/config", map[string]any{"exportable": true}},
		{del, transit + "/keys/finx-escrow", nil},
		{post, transit + "/keys/finx-escrow/rotate", nil},
		{post, transit + "/encrypt/finx-escrow", map[string]any{"plaintext": "aGk="}},
		{get, "auth/" + auth + "/role/" + env["VAULT_AUTH_MOUNT"], nil},
		{post, "auth/" + auth + "/role/" + env["VAULT_AUTH_MOUNT"] + "/secret-id", nil},
		{get, "sys/audit", nil},
		{put, "sys/seal", nil},
		{get, "sys/raw/core/keyring", nil},
		{get, "identity/entity/id", nil},
	}
}

// token is one of the policy that the script wrote under the role's name and suffix.
func (s *setup) token(suffix string) string {
	s.t.Helper()
	return s.srv.NewToken(s.t, map[string]any{"policies": []string{s.env["ROLE"] + suffix}, "ttl": "10m"})
}

// rules is a shipped policy with the paths of an installation.
func rules(t *testing.T, file string, env map[string]string) string {
	t.Helper()
	raw, err := os.ReadFile("vault/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(`"secret/`, `"`+env["VAULT_KV_MOUNT"]+"/", "/finx/", "/"+env["VAULT_KV_PREFIX"]+"/").Replace(string(raw))
}
