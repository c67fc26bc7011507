package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/doctor"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
)

func TestDoctorWithoutVault(t *testing.T) {
	in := installed(t)
	in.env["VAULT_ADDR"] = "http://127.0.0.1:1"
	in.doctor(t, exitFailed).
		says(t, doctor.Fail, "vault", "server", "http://127.0.0.1:1", "refused", "VAULT_ADDR (now http://127.0.0.1:1)").
		says(t, doctor.Skip, "vault", "login", "skipped: Vault does not answer").
		says(t, doctor.OK, "streams", "configuration").says(t, doctor.OK, "finx", "credentials").only(t, "vault/server")
	gateway := httptest.NewServer(notFinX(http.StatusNotFound, "text/html", "<html>"+canaryPassword))
	t.Cleanup(gateway.Close)
	in.env["VAULT_ADDR"] = gateway.URL
	in.doctor(t, exitFailed).says(t, doctor.Fail, "vault", "server", "does not answer as Vault").only(t, "vault/server")
}

func TestDoctorOfASealedVault(t *testing.T) {
	v := vaulttest.StartOwn(t, "inmem")
	in := installedOn(t, newRig(t), v)
	v.Seal(t)
	in.doctor(t, exitFailed).says(t, doctor.Fail, "vault", "server", "is sealed", "vault operator unseal").
		says(t, doctor.Skip, "vault", "rights", "not ready").says(t, doctor.OK, "clock", "Vault").only(t, "vault/server")
	v.Unseal(t)
	in.doctor(t, exitOK).only(t)
}

func TestDoctorOfVaultLogins(t *testing.T) {
	in := installed(t)
	const again = "vault token create -policy=finx-connector"
	in.env["VAULT_TOKEN"] = "canary-wrong-token"
	in.doctor(t, exitFailed).says(t, doctor.Fail, "vault", "login", "by token", "expired or revoked", again).
		says(t, doctor.Skip, "vault", "rights", "no login").only(t, "vault/login")
	in.env["VAULT_TOKEN"] = in.token(t, in.policy)
	in.revoke(t)
	in.doctor(t, exitFailed).says(t, doctor.Fail, "vault", "login", "expired or revoked").only(t, "vault/login")
	policy := in.vault.Policy(t, in.policy)
	for text, fields := range map[string]map[string]any{
		"not renewable": {"ttl": "2h", "renewable": false}, "maximum lifetime": {"ttl": "2h", "explicit_max_ttl": "4h"},
	} {
		fields["policies"] = []string{policy}
		in.env["VAULT_TOKEN"] = in.vault.NewToken(t, fields)
		in.doctor(t, exitOK).says(t, doctor.Warn, "vault", "login", text).only(t, "vault/login")
	}
	in.env["VAULT_TOKEN"] = in.vault.NewToken(t, map[string]any{"policies": []string{policy}, "period": "24h", "num_uses": 100})
	in.doctor(t, exitFailed).says(t, doctor.Fail, "vault", "login", "more calls")
	in.env["VAULT_TOKEN"] = in.vault.NewToken(t, map[string]any{"policies": []string{policy}, "period": "24h", "no_default_policy": true})
	in.doctor(t, exitOK).says(t, doctor.Warn, "vault", "login", "may not look at itself", "default policy").
		says(t, doctor.Warn, "vault", "rights", "may not ask").only(t, "vault/login", "vault/rights")

	role := in.vault.AppRole(t, map[string]any{"token_policies": policy, "token_period": "1h"})
	in.env["VAULT_AUTH"], in.env["VAULT_AUTH_MOUNT"], in.env["VAULT_ROLE_ID"], in.env["VAULT_SECRET_ID"] = "approle", role.Mount, role.RoleID, role.SecretID(t)
	in.doctor(t, exitOK).says(t, doctor.OK, "vault", "login", "by approle", "renewed for ever by").only(t)
	in.env["VAULT_SECRET_ID"] = "canary-wrong-secret-id"
	in.doctor(t, exitFailed).says(t, doctor.Fail, "vault", "login", "by approle", "auth/approle/role/finx-connector/secret-id").only(t, "vault/login")
}

func TestDoctorOfVaultRights(t *testing.T) {
	in := installed(t)
	const apply = "vault policy write finx-connector deploy/vault/finx-connector.hcl"
	for name, tt := range map[string]struct {
		rules   string
		verdict doctor.Verdict
		check   string
		texts   []string
	}{
		"one capability less": {strings.Replace(in.policy, `["create", "read", "update"]`, `["create", "read"]`, 1), doctor.Fail, "rights", []string{"may not update " + in.mount + "/data/finx/connections/", apply}},
		"no list":             {strings.Replace(in.policy, `"delete", "list"`, `"delete"`, 1), doctor.Fail, "rights", []string{"may not list " + in.mount + "/metadata/finx/connections"}},
		"no transit":          {strings.Replace(in.policy, `path "transit`, `path "elsewhere`, 2), doctor.Warn, "rights for more", []string{"may not update transit-", "/decrypt/"}},
		"the whole mount":     {in.policy + `path "` + in.mount + `/*" { capabilities = ["create", "read", "update", "delete", "list"] }`, doctor.Warn, "least rights", []string{"over other secrets", in.mount + "/data/finx-connector-doctor/x", apply}},
		"a prefix's sisters":  {in.policy + `path "` + in.mount + `/data/finx*" { capabilities = ["read"] }`, doctor.Warn, "least rights", []string{"read " + in.mount + "/data/finx-finx-connector-doctor/x"}},
		"undelete":            {in.policy + `path "` + in.mount + `/undelete/finx/*" { capabilities = ["update"] }`, doctor.Warn, "least rights", []string{"undelete/finx/connections"}},
		"policies":            {in.policy + `path "sys/policies/*" { capabilities = ["read", "update"] }`, doctor.Warn, "least rights", []string{"over Vault itself", "sys/policies/acl/", apply}},
		"tokens":              {in.policy + `path "auth/token/create" { capabilities = ["update"] }`, doctor.Warn, "least rights", []string{"update auth/token/create"}},
		"the sealing key":     {in.policy + `path "` + in.env["VAULT_TRANSIT_MOUNT"] + `/export/*" { capabilities = ["read"] }`, doctor.Warn, "least rights", []string{"over the sealing key", "/export/encryption-key/"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.rules == in.policy {
				t.Fatal("the shipped policy has changed")
			}
			in.env["VAULT_TOKEN"] = in.token(t, tt.rules)
			code := exitOK
			if tt.verdict == doctor.Fail {
				code = exitFailed
			}
			in.doctor(t, code).says(t, tt.verdict, "vault", tt.check, tt.texts...).only(t, "vault/"+tt.check, "vault/transit")
		})
	}
	in.env["VAULT_TOKEN"] = in.vault.NewToken(t, map[string]any{"policies": []string{"root"}})
	in.doctor(t, exitOK).says(t, doctor.Warn, "vault", "rights", "root", apply).only(t, "vault/rights")
}

func TestDoctorOfTheVaultMount(t *testing.T) {
	in := installed(t)
	own := in.mount
	in.vault.Call(t, http.MethodPost, own+"/config", map[string]any{"cas_required": false, "max_versions": 0})
	in.doctor(t, exitOK).says(t, doctor.Warn, "vault", "mount", "do not check and set", "ten versions", "vault write "+own+"/config cas_required=true max_versions=1").only(t, "vault/mount")
	in.vault.Call(t, http.MethodPost, own+"/config", map[string]any{"cas_required": true, "max_versions": 5})
	in.doctor(t, exitOK).says(t, doctor.Warn, "vault", "mount", "keeps 5 versions", "config max_versions=1").only(t, "vault/mount")

	v1 := vaulttest.Name("kv1")
	in.vault.Call(t, http.MethodPost, "sys/mounts/"+v1, map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	in.env["VAULT_KV_MOUNT"] = v1
	in.env["VAULT_TOKEN"] = in.token(t, strings.ReplaceAll(in.policy, own, v1))
	in.doctor(t, exitFailed).says(t, doctor.Fail, "vault", "mount", `no KV v2 engine: type "kv", version "1"`, "vault kv enable-versioning "+v1).
		says(t, doctor.Skip, "vault", "rights").only(t, "vault/mount")
	in.env["VAULT_KV_MOUNT"] = "no-such-mount"
	in.doctor(t, exitFailed).says(t, doctor.Fail, "vault", "mount", "no-such-mount", "vault secrets enable -path=no-such-mount -version=2 kv").only(t, "vault/mount")

	in.env["VAULT_KV_MOUNT"], in.env["VAULT_TRANSIT_KEY"] = own, "no-such-key"
	in.env["VAULT_TOKEN"] = in.token(t, strings.ReplaceAll(in.policy, "escrow-key", "no-such-key"))
	in.vault.Call(t, http.MethodPost, own+"/config", map[string]any{"cas_required": true, "max_versions": 1})
	in.doctor(t, exitOK).says(t, doctor.Warn, "vault", "transit", "no-such-key", "in memory only", "vault write -f transit/keys/finx-escrow").only(t, "vault/transit")
	in.env["VAULT_NAMESPACE"] = "team-a"
	in.doctor(t, exitFailed).says(t, doctor.Fail, "vault", "server", `would ignore "team-a"`, "VAULT_NAMESPACE").only(t, "vault/server")
}
