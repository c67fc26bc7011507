package doctor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/finx-connector/finx-connector/vaultstore"
)

const policyRemedy = "vault policy write finx-connector deploy/vault/finx-connector.hcl (put VAULT_KV_MOUNT and VAULT_KV_PREFIX in), and give the token no other policy than that and default"

func (v vaultSheet) mount(d vaultstore.Diagnosis) {
	at := v.set.KVMount
	switch {
	case errors.Is(d.Mount, vaultstore.ErrNoKV2):
		v.fail(GroupVault, "mount", at+": "+rootCause(d.Mount),
			"vault kv enable-versioning "+at+" (turns version 1 into 2), or vault secrets enable -path="+at+" -version=2 kv")
		return
	case d.Mount != nil:
		v.fail(GroupVault, "mount", at+": "+rootCause(d.Mount), "correct VAULT_KV_MOUNT, or vault secrets enable -path="+at+" -version=2 kv; and "+policyRemedy)
		return
	case !d.KV.Visible:
		v.warn(GroupVault, "mount", at+" is KV v2; its configuration is not visible to this token", "allow read on "+at+"/config: "+policyRemedy)
		return
	}
	config := []string{}
	seen := fmt.Sprintf("%s is KV v2, prefix %s", at, v.set.KVPrefix)
	if d.KV.CASRequired {
		seen += "; writes must check and set"
	} else {
		seen += "; it takes writes that do not check and set, so a hand can overwrite a token unseen"
		config = append(config, "cas_required=true")
	}
	switch d.KV.MaxVersions {
	case 1:
		seen += "; keeps one version"
	case 0:
		seen += "; keeps ten versions unless a key says otherwise: ours do, with a write more for each new connection"
		config = append(config, "max_versions=1")
	default:
		seen += fmt.Sprintf("; keeps %d versions: superseded tokens are destroyed one by one", d.KV.MaxVersions)
		config = append(config, "max_versions=1")
	}
	v.judge(false, len(config) > 0, Finding{
		Group: GroupVault, Check: "mount", Seen: seen,
		Remedy: "vault write " + at + "/config " + strings.Join(config, " ") + " (on a mount that only finx-connector uses)",
	})
}

func (v vaultSheet) rights(d vaultstore.Diagnosis) {
	r := d.Rights
	switch {
	case d.Mount != nil:
		v.skip(GroupVault, "rights", "no mount to have rights on")
		return
	case r == nil:
		v.warn(GroupVault, "rights", "the token may not ask for its rights (sys/capabilities-self)", "give it Vault's default policy beside its own")
		return
	case r.Root:
		v.warn(GroupVault, "rights", "root: whoever reads this token has all of Vault", "vault token create -policy=finx-connector -period=24h, after "+policyRemedy)
		return
	}
	if len(r.Missing) > 0 {
		v.fail(GroupVault, "rights", "it may not "+grants(r.Missing), policyRemedy)
	} else {
		v.ok(GroupVault, "rights", "all that records need")
	}
	if len(r.Lacking) > 0 {
		v.warn(GroupVault, "rights for more", "it may not "+grants(r.Lacking), policyRemedy)
	}
	v.excess(r.Excess)
}

// excess says what the token may do that it need not, a line for each thing it reaches.
func (v vaultSheet) excess(all []vaultstore.Excess) {
	if len(all) == 0 {
		v.ok(GroupVault, "least rights", "nothing beyond them was found on the paths that were tried")
		return
	}
	for _, over := range []vaultstore.Reach{vaultstore.OverVault, vaultstore.OverKeys, vaultstore.OverSecrets} {
		var found []vaultstore.Grant
		for _, e := range all {
			if e.Over == over {
				found = append(found, e.Grant)
			}
		}
		if len(found) > 0 {
			v.warn(GroupVault, "least rights", "more than needed, over "+string(over)+": it may "+grants(found), policyRemedy)
		}
	}
}

func grants(all []vaultstore.Grant) string {
	each := make([]string, len(all))
	for i, g := range all {
		each[i] = strings.Join(g.Capabilities, ", ") + " " + g.Path
	}
	return strings.Join(each, "; ")
}

func (v vaultSheet) transit(d vaultstore.Diagnosis) {
	at := v.set.TransitMount + "/" + v.set.TransitKey
	const remedy = "vault secrets enable transit; vault write -f transit/keys/finx-escrow; or set ESCROW_KEY, the same for every replica (openssl rand -base64 32)"
	switch {
	case !v.set.EscrowKeys.IsZero():
		v.ok(GroupVault, "transit", "not asked: ESCROW_KEY seals")
	case v.set.TransitKey == "":
		v.warn(GroupVault, "transit", "no key is set: an answer of finX that Vault does not take is in memory only", remedy)
	case errors.Is(d.Transit, vaultstore.ErrNoTransit):
		v.warn(GroupVault, "transit", at+": "+rootCause(d.Transit)+": an answer of finX that Vault does not take is in memory only", remedy)
	case d.Transit != nil:
		v.warn(GroupVault, "transit", at+": "+rootCause(d.Transit), "mend what it says: the key must make data keys and open them again")
	default:
		v.ok(GroupVault, "transit", at+" makes data keys and opens them")
	}
}
