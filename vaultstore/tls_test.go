package vaultstore_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/certtest"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

// A certificate authority from the settings file must count as one from the
// environment does.
func TestTLSFromTheConfiguration(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"errors":["Vault is sealed"]}`))
	}))
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		tls  vaultstore.TLS
		want string
	}{
		{"unknown authority", vaultstore.TLS{}, "certificate"},
		{"authority named", vaultstore.TLS{CACert: ca}, "sealed"},
		{"not checked", vaultstore.TLS{SkipVerify: true}, "sealed"},
		{"another name expected", vaultstore.TLS{CACert: ca, ServerName: "vault.test"}, "certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, err := vaultstore.New(vaultstore.Config{Address: srv.URL, Token: secret.New("t"), TLS: c.tls})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(store.Close)
			if err := store.Check(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
	if _, err := vaultstore.New(vaultstore.Config{Address: srv.URL, Token: secret.New("t"), TLS: vaultstore.TLS{CACert: "/nowhere/ca.pem"}}); err == nil {
		t.Error("a missing file is no mistake")
	}
}

// throughTLS puts TLS before the real core, which asks its clients for certificates.
func throughTLS(t *testing.T, target string, own certtest.Pair, clients *certtest.Authority) (address string) {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }})
	srv.TLS = &tls.Config{
		MinVersion: tls.VersionTLS12, ClientCAs: certtest.Pool(clients), ClientAuth: tls.RequireAndVerifyClientCert,
		Certificates: []tls.Certificate{own.Load(t)},
	}
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // refused handshakes are what this is for
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	a, stranger := certtest.NewAuthority(t), certtest.NewAuthority(t)
	past := time.Now().Add(-time.Minute)
	good, client := throughTLS(t, s.Addr, a.Server(), a), a.Client("connector")
	stale := throughTLS(t, s.Addr, a.Issue(&x509.Certificate{NotAfter: past, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}), a)
	elsewhere := throughTLS(t, s.Addr, a.Issue(&x509.Certificate{DNSNames: []string{"vault.example"}}), a)
	for name, tt := range map[string]struct {
		address, ca string
		client      certtest.Pair
		name, want  string // want: in the error; none: it works
	}{
		"as it should be":             {good, a.File, client, "", ""},
		"another authority":           {good, stranger.File, client, "", "unknown authority"},
		"expired":                     {stale, a.File, client, "", "expired"},
		"another host":                {elsewhere, a.File, client, "", "cannot validate certificate for 127.0.0.1"},
		"another host, as expected":   {elsewhere, a.File, client, "vault.example", ""},
		"no client certificate":       {good, a.File, certtest.Pair{}, "", "certificate required"},
		"client of another authority": {good, a.File, stranger.Client("connector"), "", "tls: "},
		"client that is expired":      {good, a.File, a.Issue(&x509.Certificate{NotAfter: past}), "", "tls: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := open(t, s, mount, func(c *vaultstore.Config) {
				c.Address = tt.address
				c.TLS = vaultstore.TLS{CACert: tt.ca, ClientCert: tt.client.CertFile, ClientKey: tt.client.KeyFile, ServerName: tt.name}
			})
			err := store.Check(t.Context())
			if tt.want != "" {
				mustWait(t, "check", err, false, tt.want)
				return
			}
			if err == nil {
				_, err = store.Put(t.Context(), vaultstoretest.NewID(), vaultstore.Record{RefreshToken: secret.New("r")}, 0)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestClientCertificateIsRenewed: the files are read again when a connection is made.
func TestClientCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	a := certtest.NewAuthority(t)
	client := a.Issue(&x509.Certificate{NotAfter: time.Now().Add(-time.Minute)})
	store := open(t, s, mount, func(c *vaultstore.Config) {
		c.Address = throughTLS(t, s.Addr, a.Server(), a)
		c.TLS = vaultstore.TLS{CACert: a.File, ClientCert: client.CertFile, ClientKey: client.KeyFile}
	})
	if err := store.Check(t.Context()); err == nil {
		t.Error("an expired certificate was taken")
	}
	client.Replace(t, a.Client("connector"))
	tick, limit := time.NewTicker(50*time.Millisecond), time.NewTimer(30*time.Second)
	defer tick.Stop()
	defer limit.Stop()
	for { // a login that failed is not tried again at once
		err := store.Check(t.Context())
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("with the certificate that is in the file now: %v", err)
		}
	}
}
