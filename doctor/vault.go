package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/settings"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// CheckVault looks at Vault: the server, our login, the engine and our rights. ask
// fails only where the settings make no client.
func CheckVault(s settings.Settings, ask func(ctx context.Context) (vaultstore.Diagnosis, error)) Check {
	return Check{GroupVault, func(ctx context.Context, sheet *Sheet) {
		d, err := ask(ctx)
		if err != nil {
			sheet.fail(GroupVault, "settings", err.Error(), "correct the setting that is named")
			return
		}
		v := vaultSheet{sheet, s.Vault}
		if !v.server(d) || !v.login(d) {
			return
		}
		v.mount(d)
		v.rights(d)
		v.transit(d)
	}}
}

type vaultSheet struct {
	*Sheet
	set settings.Vault
}

// later are the checks that need what comes before them.
func (v vaultSheet) skipped(why string, checks ...string) {
	for _, c := range checks {
		v.skip(GroupVault, c, why)
	}
}

func (v vaultSheet) server(d vaultstore.Diagnosis) bool {
	if d.Reached != nil {
		v.fail(GroupVault, "server", v.set.Addr+" does not answer as Vault: "+rootCause(d.Reached),
			"start Vault, or correct VAULT_ADDR (now "+v.set.Addr+"), VAULT_CACERT, VAULT_TLS_SERVER_NAME")
		v.skipped("Vault does not answer", "login", "mount", "rights", "transit")
		return false
	}
	f := d.Server
	v.clock(Reading{Of: "Vault", Coarse: true, Server: f.Time, Ours: f.Heard})
	v.secrecy(d)
	kind := ""
	if f.Cluster != "" {
		kind = ", cluster " + f.Cluster
	}
	if f.Standby {
		kind += ", a standby that passes requests on"
	}
	seen := fmt.Sprintf("%s, version %s%s, answered within %s", v.set.Addr, f.Version, kind, d.Latency.Round(100*time.Microsecond))
	remedy := ""
	switch {
	case !f.Initialized:
		seen, remedy = v.set.Addr+" is not initialised", "vault operator init, then vault operator unseal"
	case f.Sealed:
		seen, remedy = v.set.Addr+" is sealed: it gives and takes nothing", "vault operator unseal (as often as its threshold says), on every server of the cluster"
	case f.Namespace != nil:
		seen, remedy = rootCause(f.Namespace), "empty VAULT_NAMESPACE, or set VAULT_ADDR to a server that has namespaces"
	}
	v.judge(remedy != "", false, Finding{Group: GroupVault, Check: "server", Seen: seen, Remedy: remedy})
	if remedy != "" {
		v.skipped("the server is not ready", "login", "mount", "rights", "transit")
	}
	return remedy == ""
}

func (v vaultSheet) secrecy(d vaultstore.Diagnosis) {
	u, err := url.Parse(v.set.Addr)
	switch {
	case !d.CertEnd.IsZero():
		v.judge(false, v.set.SkipVerify, Finding{
			Group: GroupVault, Check: "TLS", Seen: map[bool]string{false: "on", true: "on, and the certificate is not checked (VAULT_SKIP_VERIFY)"}[v.set.SkipVerify],
			Remedy: "unset VAULT_SKIP_VERIFY and set VAULT_CACERT to the authority of Vault's certificate",
		})
		checkCertificate(v.Sheet, GroupVault, d.CertEnd)
	case err == nil && (u.Scheme == "unix" || isLoopback(u.Hostname())):
		v.ok(GroupVault, "TLS", "none; the traffic does not leave this machine")
	default:
		v.warn(GroupVault, "TLS", "none, and the traffic leaves this machine: tokens go in clear", "set VAULT_ADDR to https:// and VAULT_CACERT")
	}
}

func (v vaultSheet) login(d vaultstore.Diagnosis) bool {
	if d.Login != nil {
		remedy := map[string]string{
			settings.AuthToken:      "make a token and give it as VAULT_TOKEN or VAULT_TOKEN_FILE: vault token create -policy=finx-connector -period=24h",
			settings.AuthAppRole:    "give VAULT_ROLE_ID and a fresh VAULT_SECRET_ID: vault write -f auth/approle/role/finx-connector/secret-id",
			settings.AuthKubernetes: "bind VAULT_K8S_ROLE to the service account: vault read auth/kubernetes/role/" + v.set.KubernetesRole,
		}[v.set.Auth]
		v.fail(GroupVault, "login", "by "+v.set.Auth+": "+rootCause(d.Login), remedy)
		v.skipped("no login", "mount", "rights", "transit")
		return false
	}
	if d.Token == nil {
		v.warn(GroupVault, "login", "by "+v.set.Auth+"; the token may not look at itself, so how long it lives is not known",
			"give it Vault's default policy beside its own (auth/token/lookup-self, auth/token/renew-self, sys/capabilities-self)")
		return true
	}
	v.token(d.Token)
	return true
}

// tokenShort is when a token that nobody renews is about to leave us alone.
const tokenShort = 24 * time.Hour

func (v vaultSheet) token(t *vaultstore.TokenFacts) {
	seen := fmt.Sprintf("by %s; policies %s", v.set.Auth, strings.Join(t.Policies, ", "))
	remedy := ""
	own := v.set.Auth != settings.AuthToken || v.set.TokenFile != "" // a new one can be had without a restart
	switch {
	case t.TTL == 0:
		seen += "; it never ends"
		if !slices.Contains(t.Policies, "root") { // which is said under rights
			remedy = "use a token that ends when nobody renews it: vault token create -policy=finx-connector -period=24h"
		}
	case t.Period > 0:
		seen += fmt.Sprintf("; %s left, renewed for ever by %s", age(t.TTL), age(t.Period))
	case t.Renewable:
		seen += fmt.Sprintf("; %s left, renewable%s", age(t.TTL), most(t.ExplicitMax))
		if !own {
			remedy = "it ends at its maximum lifetime, and VAULT_TOKEN brings no other: use VAULT_TOKEN_FILE with an agent, approle, kubernetes, or a periodic token (vault token create -policy=finx-connector -period=24h)"
		}
	default:
		seen += fmt.Sprintf("; %s left, not renewable", age(t.TTL))
		if !own || t.TTL < tokenShort && v.set.Auth == settings.AuthToken {
			remedy = "give a renewable token: vault token create -policy=finx-connector -period=24h"
		}
	}
	if t.Uses > 0 {
		seen += fmt.Sprintf("; good for %d more calls", t.Uses)
		remedy = "give a token without a number of uses"
	}
	v.judge(t.Uses > 0, remedy != "", Finding{Group: GroupVault, Check: "login", Seen: seen, Remedy: remedy})
}

func most(limit time.Duration) string {
	if limit == 0 {
		return ""
	}
	return " up to " + age(limit) + " in all"
}

// rootCause is what happened without the names of those who passed it on.
func rootCause(err error) string {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err.Error()
	}
	text := err.Error()
	for _, lead := range []string{"vaultstore: ", "finx: "} {
		text = strings.TrimPrefix(text, lead)
	}
	return text
}
