package e2e_test

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/settings"
)

// roled is an installation on a broker with the shipped configuration, where each
// program has the rights of its role and no more.
type roled struct {
	*rig
	shipped *natstest.Shipped
	rules   []roleRule
	wire    *wiretap
	url     string
	stop    func()        // of the connector that runs, if any
	again   func() func() // starts another like it
}

const observerPassword = "of-the-test-alone"

// newRoled starts one, with a mutant for each rule of the roles; change may add to
// the broker's options.
func newRoled(t testing.TB, prefix string, o options, roles []string, change ...func(*server.Options)) *roled {
	t.Helper()
	r := &roled{shipped: natstest.NewShipped(t, prefix)}
	change = append(change, func(o *server.Options) {
		r.rules = mutate(t, o, r.shipped, roles...)
		// The test looks on as a user of its own.
		o.Users = append(o.Users, &server.User{Username: "observer", Password: observerPassword, Account: account(o)})
	})
	node := r.shipped.Single(change...)
	r.wire = listenIn(node.Raw())
	r.url = node.URL()
	env := maps.Clone(o.env)
	if prefix != "" {
		env["SUBJECT_PREFIX"] = prefix
	}
	o.env = env
	o.broker = func(t testing.TB) string {
		t.Helper()
		r.wire.during("streams are applied")
		p := launch(t, programs.path(t, "finx-connector"), r.as(natstest.RoleProvisioner, env), "streams", "apply")
		if code := p.wait(within); code != 0 {
			t.Errorf("streams apply ended with %d:\n%s", code, p.out)
		}
		return strings.Replace(r.url, "nats://", "nats://observer:"+observerPassword+"@", 1)
	}
	r.rig = newRig(t, o)
	return r
}

// at returns the installation for another test.
func (r *roled) at(t testing.TB) *roled {
	c, rig := *r, *r.rig
	rig.t, c.rig = t, &rig
	return &c
}

// restart stops the connector and starts another with the same rights.
func (r *roled) restart() {
	r.t.Helper()
	r.stop()
	r.stop = r.again()
}

// connector runs a connector with the rights of a user. The returned stop lets it
// drain.
func (r *roled) connector(id natstest.Identity, ready bool) (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	env := r.asUser(natstest.RoleConnector, id, r.env)
	s, err := settings.Load("", func(name string) string { return env[name] }, nil, settings.Need{FinX: true, Vault: r.memory == nil})
	if err != nil {
		r.t.Fatal(err)
	}
	s.Process.ListenAddr = "127.0.0.1:0"
	listens, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- app.Run(ctx, app.Options{
			Settings: s, Version: "e2e", Secrets: r.memory, Logger: slog.New(slog.DiscardHandler),
			OnReady: func(addr string) { listens <- addr },
		})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && ready {
			r.t.Errorf("the connector ended with: %v", err)
		}
	})
	if !ready {
		return stop
	}
	select {
	case addr := <-listens:
		r.t.Cleanup(stop)
		waitReady(r.t, addr, nil)
	case err := <-ended:
		r.t.Fatalf("the connector did not start: %v", err)
	}
	return stop
}

// account is that of the roles.
func account(o *server.Options) *server.Account {
	for _, a := range o.Accounts {
		if a.Name == "FINX" {
			return a
		}
	}
	return nil
}

// as returns the environment of a program in a role.
func (r *roled) as(role string, env map[string]string) map[string]string {
	return r.asUser(role, r.shipped.Roles[role], env)
}

func (r *roled) asUser(role string, id natstest.Identity, env map[string]string) map[string]string {
	all := maps.Clone(env)
	if all == nil {
		all = map[string]string{}
	}
	all["NATS_URL"], all["NATS_NKEY_SEED_FILE"], all["NATS_INBOX_PREFIX"] = r.url, id.SeedFile, "_INBOX_"+role
	return all
}

// names says which role has which key.
func (r *roled) names() map[string]string {
	names := map[string]string{}
	for role, id := range r.shipped.Roles {
		names[id.Public] = role
	}
	return names
}
