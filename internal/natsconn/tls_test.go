package natsconn

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/finx-connector/finx-connector/internal/certtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// overTLS makes a broker ask its clients for certificates.
func overTLS(t *testing.T, own certtest.Pair, clients *certtest.Authority, change ...func(*server.Options)) *natstest.Server {
	t.Helper()
	return natstest.Start(t, natstest.WithOptions(func(o *server.Options) {
		o.TLS, o.TLSVerify, o.TLSTimeout = true, true, 5
		o.TLSConfig = &tls.Config{
			MinVersion: tls.VersionTLS12, ClientCAs: certtest.Pool(clients), ClientAuth: tls.RequireAndVerifyClientCert,
			// Read at each handshake, so that tests can replace it.
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				cert, err := tls.LoadX509KeyPair(own.CertFile, own.KeyFile)
				return &cert, err
			},
		}
		for _, f := range change {
			f(o)
		}
	}))
}

func asClient(url, ca string, p certtest.Pair) Config {
	return Config{URL: url, CAFile: ca, CertFile: p.CertFile, KeyFile: p.KeyFile, Logger: slog.New(slog.DiscardHandler)}
}

// complains waits for a connection that is not made to say why.
func complains(t *testing.T, cfg Config, want string) {
	t.Helper()
	var tracker Tracker
	cfg.OnState = tracker.Observe
	nc := connect(t, cfg)
	natstest.Eventually(t, 10*time.Second, func() bool { return strings.Contains(tracker.State().Problem, want) }, "a complaint of "+want)
	if err := tracker.State().Err(); nc.IsConnected() || err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("state %v", err)
	}
}

func TestMutualTLSWithAnNkey(t *testing.T) {
	a, user := certtest.NewAuthority(t), natstest.NewIdentity(t)
	srv := overTLS(t, a.Server(), a, func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: user.Public}} })
	cfg := asClient(srv.URL(), a.File, a.Client("connector"))
	complains(t, cfg, "Authorization Violation") // a certificate is not enough
	cfg.NkeySeedFile = user.SeedFile
	nc := connect(t, cfg)
	natstest.Eventually(t, 10*time.Second, nc.IsConnected, "connected with certificate and nkey")
	if state, err := nc.TLSConnectionState(); err != nil || state.Version < tls.VersionTLS12 {
		t.Errorf("TLS %x, %v", state.Version, err)
	}
}

func TestTLSThatDoesNotFitSaysWhy(t *testing.T) {
	a, stranger := certtest.NewAuthority(t), certtest.NewAuthority(t)
	past := time.Now().Add(-time.Minute)
	expired := &x509.Certificate{NotAfter: past, DNSNames: []string{"localhost"}}
	good := overTLS(t, a.Server(), a)
	elsewhere := overTLS(t, a.Issue(&x509.Certificate{DNSNames: []string{"nats.example"}}), a)
	stale := overTLS(t, a.Issue(expired), a)
	local := func(s *natstest.Server) string { return strings.Replace(s.URL(), "127.0.0.1", "localhost", 1) }
	client := a.Client("connector")
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"another authority":                  {asClient(local(good), stranger.File, client), "certificate signed by unknown authority"},
		"no authority":                       {asClient(local(good), "", client), "certificate signed by unknown authority"},
		"another host":                       {asClient(local(elsewhere), a.File, client), "certificate is valid for nats.example, not localhost"},
		"another address":                    {asClient(elsewhere.URL(), a.File, client), "cannot validate certificate for 127.0.0.1"},
		"expired":                            {asClient(local(stale), a.File, client), "certificate has expired"},
		"no client certificate":              {asClient(local(good), a.File, certtest.Pair{}), "certificate required"},
		"client of another authority":        {asClient(local(good), a.File, stranger.Client("connector")), "tls"},
		"client certificate that is expired": {asClient(local(good), a.File, a.Issue(&x509.Certificate{NotAfter: past})), "tls"},
	} {
		t.Run(name, func(t *testing.T) { complains(t, tt.cfg, tt.want) })
	}
}

// TestCertificatesAreReplacedWhileTheProcessRuns moves broker and client to another
// authority. The client reads its files again when it connects again.
func TestCertificatesAreReplacedWhileTheProcessRuns(t *testing.T) {
	before, after := certtest.NewAuthority(t), certtest.NewAuthority(t)
	own, client := before.Server(), before.Client("connector")
	ca := write(t, "ca.pem", "")
	certtest.Replace(t, ca, before.File)
	srv := overTLS(t, own, after, func(o *server.Options) {
		o.TLSConfig.ClientCAs = certtest.Pool(before, after)
	})
	var tracker Tracker
	cfg := asClient(srv.URL(), ca, client)
	cfg.OnState = tracker.Observe
	connect(t, cfg)
	is := func(s Status) func() bool { return func() bool { return tracker.State().Status == s } }
	natstest.Eventually(t, 10*time.Second, is(Connected), "connected")

	srv.Stop()
	own.Replace(t, after.Server())
	srv.Restart()
	natstest.Eventually(t, 10*time.Second, func() bool { return strings.Contains(tracker.State().Problem, "unknown authority") }, "the old authority does not do")
	certtest.Replace(t, ca, after.File)
	client.Replace(t, after.Client("connector"))
	natstest.Eventually(t, 20*time.Second, is(Connected), "connected with what is in the files now")
}

func TestTLSBeforeTheGreeting(t *testing.T) {
	a := certtest.NewAuthority(t)
	srv := overTLS(t, a.Server(), a, func(o *server.Options) { o.TLSHandshakeFirst = true })
	cfg := asClient(srv.URL(), a.File, a.Client("connector"))
	var tracker Tracker
	late := cfg
	late.OnState = tracker.Observe
	connect(t, late)
	natstest.Eventually(t, 20*time.Second, func() bool { return tracker.State().Problem != "" }, "nobody is greeted in clear")
	cfg.TLSFirst = true
	nc := connect(t, cfg)
	natstest.Eventually(t, 10*time.Second, nc.IsConnected, "connected with TLS from the first byte")
}
