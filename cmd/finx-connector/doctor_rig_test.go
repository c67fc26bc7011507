package main

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/doctor"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
)

// theVault is shared by the tests of this package.
var theVault vaulttest.Shared

// canaries are secrets of an installation, which doctor must never print.
const (
	canarySecret   = "canary-client-secret-9f31"
	canaryPassword = "canary-nats-password-77ab"
	canaryEscrow   = "Y2FuYXJ5LWVzY3Jvdy1rZXktb2YtMzItYnl0ZXMhISE=" // 32 bytes
)

// installation is a rig with all three servers, set up as the documentation says.
type installation struct {
	*rig
	vault  *vaulttest.Server
	mount  string
	policy string // rules
	bank   *finxtest.Sandbox
	finx   string // its address
}

// installed starts one. Vault is the package's, apart by mounts.
func installed(t *testing.T, opts ...natstest.Option) *installation {
	t.Helper()
	return installedOn(t, newRig(t, opts...), theVault.Start(t))
}

func installedOn(t *testing.T, r *rig, v *vaulttest.Server) *installation {
	t.Helper()
	r.run(t, "streams", "apply").done(t)
	in := &installation{rig: r, vault: v, mount: v.Mount(t, map[string]any{"cas_required": true, "max_versions": 1})}
	transit, key := v.Transit(t)
	in.policy = vaulttest.Rules(t, vaulttest.Paths{Mount: in.mount, TransitMount: transit, TransitKey: key})
	in.bank, in.finx = finxtest.Start(t, finxtest.Options{ClientID: "client", ClientSecret: canarySecret})
	maps.Copy(r.env, map[string]string{
		"FINX_BASE_URL": in.finx, "FINX_CLIENT_ID": "client", "FINX_CLIENT_SECRET": canarySecret,
		"VAULT_ADDR": v.Addr, "VAULT_TOKEN": in.token(t, in.policy), "VAULT_KV_MOUNT": in.mount,
		"VAULT_TRANSIT_MOUNT": transit, "VAULT_TRANSIT_KEY": key,
		"LISTEN_ADDR": "127.0.0.1:0", "REDIRECT_URI_ALLOW": "https://app.example",
	})
	return in
}

// token makes a periodic token with those rules and the default policy.
func (in *installation) token(t *testing.T, rules string) string {
	t.Helper()
	return in.vault.NewToken(t, map[string]any{"policies": []string{in.vault.Policy(t, rules)}, "period": "24h"})
}

// diagnosed is a run of doctor -o json.
type diagnosed struct {
	result
	Findings []doctor.Finding `json:"findings"`
}

// doctor runs the command, expects the code, and makes sure that no secret is shown in
// either form.
func (in *installation) doctor(t *testing.T, code int, args ...string) diagnosed {
	t.Helper()
	in.run(t, append([]string{"doctor"}, args...)...).exits(t, code).hides(t, in.secrets()...)
	r := in.run(t, append([]string{"doctor", "-o", "json"}, args...)...).exits(t, code).hides(t, in.secrets()...)
	d := decodeJSON[diagnosed](t, r)
	d.result = r
	return d
}

func (in *installation) secrets() []string {
	all := []string{canarySecret, canaryPassword, canaryEscrow}
	for _, name := range []string{"VAULT_TOKEN", "VAULT_SECRET_ID", "VAULT_ROLE_ID"} {
		if v := in.env[name]; v != "" {
			all = append(all, v)
		}
	}
	return all
}

// says expects a finding of that verdict on that check, with the texts in what was seen
// and the remedy.
func (d diagnosed) says(t *testing.T, v doctor.Verdict, group, check string, texts ...string) diagnosed {
	t.Helper()
	var near []string
	for _, f := range d.Findings {
		if f.Group != group || f.Check != check {
			continue
		}
		near = append(near, string(f.Verdict)+": "+f.Seen+" → "+f.Remedy)
		if f.Verdict != v {
			continue
		}
		all := true
		for _, text := range texts {
			all = all && strings.Contains(f.Seen+"\n"+f.Remedy, text)
		}
		if all {
			if (v == doctor.Warn || v == doctor.Fail) && f.Remedy == "" {
				t.Errorf("%s of %s has no remedy", check, group)
			}
			return d
		}
	}
	t.Errorf("nothing says %s of %s is %s with %q; of it:\n%s\nall:\n%s", check, group, v, texts, strings.Join(near, "\n"), d.stdout)
	return d
}

// only expects no other findings that warn or fail than those named "group/check".
func (d diagnosed) only(t *testing.T, named ...string) diagnosed {
	t.Helper()
	for _, f := range d.Findings {
		if (f.Verdict == doctor.Warn || f.Verdict == doctor.Fail) && !strings.Contains(" "+strings.Join(named, " , ")+" ", " "+f.Group+"/"+f.Check+" ") {
			t.Errorf("%s of %s is %s: %s", f.Check, f.Group, f.Verdict, f.Seen)
		}
	}
	return d
}

// revoke ends the token of the installation.
func (in *installation) revoke(t *testing.T) {
	t.Helper()
	in.vault.Call(t, http.MethodPost, "auth/token/revoke", map[string]any{"token": in.env["VAULT_TOKEN"]})
}

// everything is what is on the broker, as text.
func (in *installation) everything(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	streams := in.js.ListStreams(t.Context())
	for s := range streams.Info() {
		fmt.Fprintf(&b, "%s %+v\n", s.Config.Name, s.State)
		stream, err := in.js.Stream(t.Context(), s.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		for c := range stream.ListConsumers(t.Context()).Info() {
			fmt.Fprintf(&b, "  %s %+v %+v %d %d %d\n", c.Name, c.Delivered, c.AckFloor, c.NumPending, c.NumAckPending, c.NumWaiting)
		}
	}
	if err := streams.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
