package e2e_test

import (
	"context"
	"maps"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
	"github.com/finx-connector/finx-connector/settings"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

const (
	clientID     = "e2e-client"
	clientSecret = "e2e-client-secret-4f1c7a90"
	redirectURI  = "https://app.example/callback"
)

// within bounds every wait for something that takes milliseconds on an idle
// machine.
const within = 45 * time.Second

// options of a rig; the zero value is one node, the sandbox as it comes, and
// the shared Vault.
type options struct {
	broker  broker
	vault   *vaulttest.Server // instead of the shared one
	memory  bool              // secrets in memory: for tests that are not about Vault
	sandbox finxtest.Options
	env     map[string]string
	blind   bool          // no observer of the events: there will be too many to keep
	dial    []nats.Option // more than the broker's address, for the rig's own connection
}

// rig is an installation: everything but the connector runs when newRig returns.
type rig struct {
	t       testing.TB
	env     map[string]string
	sandbox *finxtest.Sandbox
	base    string // of the sandbox itself
	bank    *gate  // what the connector takes for finX
	vault   *vaulttest.Server
	safe    *gate // what the connector takes for Vault
	mount   string
	memory  app.Secrets
	nc      *nats.Conn
	js      jetstream.JetStream
	codec   events.Codec
	seen    *observer
}

func newRig(t testing.TB, o options) *rig {
	t.Helper()
	if o.broker == nil {
		o.broker = inProcess
	}
	o.sandbox.ClientID, o.sandbox.ClientSecret = clientID, clientSecret
	r := &rig{t: t}
	r.sandbox, r.base = finxtest.Start(t, o.sandbox)
	r.bank = newGate(t, r.base)
	url := o.broker(t)
	r.nc = natstest.Connect(t, url, o.dial...)
	var err error
	if r.js, err = jetstream.New(r.nc); err != nil {
		t.Fatal(err)
	}
	r.env = map[string]string{
		"NATS_URL": url, "FINX_BASE_URL": r.bank.URL, "FINX_CLIENT_ID": clientID, "FINX_CLIENT_SECRET": clientSecret,
		"LISTEN_ADDR": freeAddress(t), "LOG_LEVEL": "debug",
		// Short, so that what a killed process leaves behind is taken over soon.
		"ACK_WAIT": "3s", "FINX_TIMEOUT_TOKEN": "2s", "RETRY_DELAY_MAX": "1s",
	}
	if o.memory {
		r.memory = vaultstoretest.NewMemory()
	} else {
		r.openVault(o)
	}
	maps.Copy(r.env, o.env)
	s := r.settings()
	r.codec = app.Codec(s)
	r.apply(s)
	r.seen = newObserver(t, r.js, r.codec, o.blind)
	return r
}

func (r *rig) openVault(o options) {
	r.t.Helper()
	if r.vault = o.vault; r.vault == nil {
		r.vault = vault.Start(r.t)
	}
	r.mount = r.vault.Mount(r.t)
	r.safe = newGate(r.t, r.vault.Addr)
	token := r.vault.NewToken(r.t, map[string]any{
		"policies": []string{r.vault.Policy(r.t, vaulttest.KV2Rules(r.t, r.mount, "finx"))}, "ttl": "1h",
	})
	r.env["VAULT_ADDR"], r.env["VAULT_TOKEN"], r.env["VAULT_KV_MOUNT"] = r.safe.URL, token, r.mount
}

// at returns the rig for a subtest.
func (r *rig) at(t *testing.T) *rig {
	c := *r
	c.t = t
	return &c
}

// settings are read from the environment, as the program does.
func (r *rig) settings() settings.Settings {
	r.t.Helper()
	s, err := settings.Load("", func(name string) string { return r.env[name] }, nil, settings.Need{FinX: true, Vault: r.memory == nil})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// apply does what `finx-connector streams apply` does.
func (r *rig) apply(s settings.Settings) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), within)
	defer cancel()
	topology := app.Topology(s)
	changes, err := topology.Diff(ctx, r.js)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := topology.Apply(ctx, r.js, changes); err != nil {
		r.t.Fatal(err)
	}
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

func withoutCancel(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }
