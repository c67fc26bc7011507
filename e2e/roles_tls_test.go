package e2e_test

import (
	"crypto/tls"
	"log/slog"
	"maps"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/certtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestTheWholeJobOverMutualTLS runs three nodes with the configuration that
// production uses, TLS towards clients and between each other, and Vault behind TLS;
// whoever connects shows a certificate and an nkey.
func TestTheWholeJobOverMutualTLS(t *testing.T) {
	t.Parallel()
	clients, nodes, vaults := certtest.NewAuthority(t), certtest.NewAuthority(t), certtest.NewAuthority(t)
	shipped := natstest.NewShipped(t, "")
	urls := startNodes(t, shipped, clients, nodes)

	own := clients.Client("observer")
	r := newRig(t, options{
		broker: func(t testing.TB) string {
			t.Helper()
			p := launch(t, programs.path(t, "finx-connector"), shippedEnv(shipped, natstest.RoleProvisioner, urls, clients), "streams", "apply")
			if code := p.wait(within); code != 0 {
				t.Fatalf("streams apply ended with %d:\n%s", code, p.out)
			}
			return strings.ReplaceAll(urls, "tls://", "tls://observer:"+observerPassword+"@")
		},
		dial: []nats.Option{nats.RootCAs(clients.File), nats.ClientCert(own.CertFile, own.KeyFile)},
		env:  map[string]string{"NATS_CA": clients.File, "NATS_CERT": own.CertFile, "NATS_KEY": own.KeyFile},
	})
	checkReplicas(t, r, 3)
	maps.Copy(r.env, shippedEnv(shipped, natstest.RoleConnector, urls, clients))
	client := vaults.Client("connector")
	r.env["VAULT_ADDR"] = behindTLS(t, r.safe.URL, vaults)
	r.env["VAULT_CACERT"], r.env["VAULT_CLIENT_CERT"], r.env["VAULT_CLIENT_KEY"] = vaults.File, client.CertFile, client.KeyFile
	r.serve()
	link, completed := r.establish("tls@example.com")
	r.parts(completed)
	if kept := r.kept(link.ConnectionID); kept["refresh_token"] == "" {
		t.Error("the secret in Vault is not whole")
	}

	operator := func(args ...string) *process {
		return launch(t, programs.path(t, "finx-connector"), shippedEnv(shipped, natstest.RoleOperator, urls, clients), args...)
	}
	if p := operator("connections", "sync", link.ConnectionID, "--wait"); p.wait(within) != 0 {
		t.Errorf("connections sync:\n%s", p.out)
	}
	stream, sequence := r.publish(events.TypeConnectRequested, []byte(`{}`))
	letter := r.letter(stream, sequence)
	if p := operator("dlq", "discard", strconv.FormatUint(letter.Sequence, 10), "--reason", "a test", "--yes"); p.wait(within) != 0 {
		t.Errorf("dlq discard:\n%s", p.out)
	}

	// Upstream's account reaches the streams from every node.
	for url := range strings.SplitSeq(urls, ",") {
		env := shippedEnv(shipped, natstest.RoleUpstream, url, clients)
		if p := launch(t, programs.path(t, "finx-connector"), env, "emit", "sync", "--connection-id", link.ConnectionID); p.wait(within) != 0 {
			t.Errorf("emit sync as upstream at %s:\n%s", url, p.out)
		}
	}

	// Either of the two alone is not enough, and neither is another authority.
	stranger := certtest.NewAuthority(t)
	for name, change := range map[string]map[string]string{
		"no certificate":                 {"NATS_CERT": "", "NATS_KEY": ""},
		"no nkey":                        {"NATS_NKEY_SEED_FILE": ""},
		"another authority's":            {"NATS_CA": stranger.File},
		"a certificate of the cluster's": pairEnv(nodes.Client("operator")),
	} {
		env := shippedEnv(shipped, natstest.RoleOperator, urls, clients)
		maps.Copy(env, change)
		if p := launch(t, programs.path(t, "finx-connector"), env, "streams", "check", "--timeout", "2s"); p.wait(within) != 1 {
			t.Errorf("%s: exit code %d:\n%s", name, p.code, p.out)
		} else {
			t.Logf("%s: %s", name, strings.TrimSpace(p.out.String()))
		}
	}
}

func pairEnv(p certtest.Pair) map[string]string {
	return map[string]string{"NATS_CERT": p.CertFile, "NATS_KEY": p.KeyFile}
}

// shippedEnv is what a program is given to connect in a role.
func shippedEnv(s *natstest.Shipped, role, urls string, clients *certtest.Authority) map[string]string {
	env := pairEnv(clients.Client(role))
	env["NATS_URL"], env["NATS_CA"], env["NATS_TLS_FIRST"] = urls, clients.File, "true"
	env["NATS_NKEY_SEED_FILE"], env["NATS_INBOX_PREFIX"] = s.Roles[role].SeedFile, "_INBOX_"+role
	return env
}

// startNodes starts nats-server.conf three times and returns the addresses.
func startNodes(t *testing.T, s *natstest.Shipped, clients, nodes *certtest.Authority) string {
	t.Helper()
	c := s.Cluster(3, func(int) map[string]string {
		own, route := clients.Server(), nodes.Server()
		return map[string]string{
			"NATS_TLS_CERT": own.CertFile, "NATS_TLS_KEY": own.KeyFile, "NATS_TLS_CA": clients.File,
			"NATS_CLUSTER_TLS_CERT": route.CertFile, "NATS_CLUSTER_TLS_KEY": route.KeyFile, "NATS_CLUSTER_TLS_CA": nodes.File,
		}
	}, func(o *server.Options) {
		o.Users = append(o.Users, &server.User{Username: "observer", Password: observerPassword, Account: account(o)})
	})
	var urls []string
	for _, node := range c.Nodes {
		u, err := url.Parse(node.URL())
		if err != nil {
			t.Fatal(err)
		}
		urls = append(urls, "tls://localhost:"+u.Port())
	}
	return strings.Join(urls, ",")
}

// behindTLS puts TLS, with certificates of clients, before a server.
func behindTLS(t *testing.T, target string, a *certtest.Authority) string {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }})
	srv.TLS = &tls.Config{
		MinVersion: tls.VersionTLS13, ClientCAs: certtest.Pool(a), ClientAuth: tls.RequireAndVerifyClientCert,
		Certificates: []tls.Certificate{a.Server().Load(t)},
	}
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL
}
