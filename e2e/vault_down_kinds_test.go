package e2e_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
)

// outage is a way in which Vault can be away, and how it comes back.
type outage struct {
	name string
	own  string // storage of a server of its own, where the outage takes one
	// mayCall: the outage leaves just enough time between mark and call for some.
	mayCall  bool
	prepare  func(r *rig)
	down, up func(r *rig, w *watch) // without up nobody has to do anything
}

// outages are the ways in which no secret can be read or written.
func outages() []outage {
	return []outage{
		sealed(),
		{
			name: "frozen", own: "inmem",
			prepare: func(r *rig) { r.t.Cleanup(func() { r.vault.Resume(r.t) }) }, // before the clean-up that calls it
			down:    func(r *rig, _ *watch) { r.vault.Stop(r.t) },
			up:      func(r *rig, _ *watch) { r.vault.Resume(r.t) },
		},
		{
			name: "gone", own: "file",
			down: func(r *rig, _ *watch) { r.vault.Kill(r.t) },
			up:   func(r *rig, _ *watch) { r.vault.Restart(r.t) },
		},
		tokenExpires(),
		{
			name: "answers after 5 s",
			down: func(_ *rig, w *watch) { w.slowDown(5 * time.Second) },
			up:   func(_ *rig, w *watch) { w.slowDown(0) },
		},
		{
			name: "answers after 5 s, and is waited for", mayCall: true,
			prepare: func(r *rig) { r.env["VAULT_CLIENT_TIMEOUT"] = "30s" },
			down:    func(_ *rig, w *watch) { w.slowDown(5 * time.Second) },
			up:      func(_ *rig, w *watch) { w.slowDown(0) },
		},
	}
}

func sealed() outage {
	return outage{
		name: "sealed", own: "inmem",
		down: func(r *rig, _ *watch) { r.vault.Seal(r.t) },
		up:   func(r *rig, _ *watch) { r.vault.Unseal(r.t) },
	}
}

// nuisances are troubles that the connector gets over by itself.
func nuisances() []outage {
	return []outage{
		{
			name: "token expired, and the login works",
			prepare: func(r *rig) {
				policy := r.vault.Policy(r.t, vaulttest.KV2Rules(r.t, r.mount, "finx"))
				role := r.vault.AppRole(r.t, map[string]any{"token_policies": policy, "token_ttl": "1h"})
				delete(r.env, "VAULT_TOKEN")
				maps.Copy(r.env, map[string]string{
					"VAULT_AUTH": "approle", "VAULT_AUTH_MOUNT": role.Mount, "VAULT_ROLE_ID": role.RoleID, "VAULT_SECRET_ID": role.SecretID(r.t),
				})
			},
			down: func(r *rig, _ *watch) { r.expire(r.lastLogin()) },
		},
		{
			name: "answers after 0.5 s",
			down: func(_ *rig, w *watch) { w.slowDown(500 * time.Millisecond) },
		},
	}
}

// lastLogin is the token that the connector got at its last login.
func (r *rig) lastLogin() string {
	r.t.Helper()
	logins := r.safe.answered(http.MethodPut, "/login")
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	if len(logins) == 0 || json.Unmarshal(logins[len(logins)-1].Answer, &answer) != nil || answer.Auth.Token == "" {
		r.t.Fatalf("no token in the last of %d logins", len(logins))
	}
	return answer.Auth.Token
}

// tokenExpires has the connector take its token from a file which somebody else,
// such as Vault's agent, is to keep fresh, and does not for a while.
func tokenExpires() outage {
	var policy, path, token string
	fresh := func(r *rig) {
		token = r.vault.NewToken(r.t, map[string]any{"policies": []string{policy}, "ttl": "1h"})
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	return outage{
		name: "token expired",
		prepare: func(r *rig) {
			policy = r.vault.Policy(r.t, vaulttest.KV2Rules(r.t, r.mount, "finx"))
			path = filepath.Join(r.t.TempDir(), "token")
			delete(r.env, "VAULT_TOKEN")
			r.env["VAULT_TOKEN_FILE"] = path
			fresh(r)
		},
		down: func(r *rig, _ *watch) { r.expire(token) },
		up:   func(r *rig, _ *watch) { fresh(r) },
	}
}

// expire shortens the life of a token to a second and waits for its end.
func (r *rig) expire(token string) {
	r.t.Helper()
	r.vault.Call(r.t, http.MethodPost, "auth/token/renew", map[string]any{"token": token, "increment": "1s"})
	natstest.Eventually(r.t, within, func() bool {
		status, _, err := r.vault.Try(r.t.Context(), token, http.MethodGet, "auth/token/lookup-self", nil)
		return err == nil && status == http.StatusForbidden
	}, "the token has expired")
}

// newRigWithOutage is a rig of which Vault will be taken away, under watch.
func newRigWithOutage(t *testing.T, kind outage, o options) (*rig, *watch) {
	t.Helper()
	if kind.own != "" {
		o.vault = vaulttest.StartOwn(t, kind.own)
	}
	r := newRig(t, o)
	if kind.prepare != nil {
		kind.prepare(r)
	}
	return r, r.watched()
}

// serveAnywhere is serve at an address that the system chooses, so that it can
// be done often side by side. wait says whether to wait until it takes work.
func (r *rig) serveAnywhere(wait bool) *process {
	r.t.Helper()
	env := maps.Clone(r.env)
	env["LISTEN_ADDR"] = "127.0.0.1:0"
	p := launch(r.t, programs.path(r.t, "finx-connector"), env, "serve")
	natstest.Eventually(r.t, within, func() bool {
		_, rest, ok := strings.Cut(p.out.String(), `"msg":"listening","addr":"`)
		p.addr, _, _ = strings.Cut(rest, `"`)
		return ok
	}, "connector listens")
	if wait {
		waitReady(r.t, p.addr, p)
	}
	return p
}
