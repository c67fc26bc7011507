package vaultstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

func newClient(conf *api.Config, namespace string) (*api.Client, error) {
	client, err := api.NewClient(conf)
	if err != nil {
		return nil, fmt.Errorf("vaultstore: making the client: %w", err)
	}
	client.ClearToken() // the client took VAULT_TOKEN, which is for the token method alone
	if namespace != "" {
		client.SetNamespace(namespace)
	}
	return client, nil
}

// maxConnections to Vault is far more than it can serve at once, and far less than
// a process may have handlers: a connection costs some 20 KB on either side. Who
// finds none waits for one of the next answers.
const maxConnections = 128

// client returns the settings of vault/api. Its own defaults suit a command
// line: 60 s, three attempts a second apart, three idle connections.
func (c Config) client() (*api.Config, error) {
	conf := api.DefaultConfig()
	if _, ok := errors.AsType[*url.Error](conf.Error); ok { // its text has the value, which may hold a password
		return nil, errors.New("vaultstore: reading the environment: VAULT_AGENT_ADDR, VAULT_PROXY_ADDR or VAULT_HTTP_PROXY is no URL")
	}
	if conf.Error != nil {
		return nil, fmt.Errorf("vaultstore: reading the environment: %w", conf.Error)
	}
	conf.Address = cmp.Or(c.Address, conf.Address)
	if c.TLS != (TLS{}) {
		err := conf.ConfigureTLS(&api.TLSConfig{
			CACert: c.TLS.CACert, CAPath: c.TLS.CAPath, ClientCert: c.TLS.ClientCert, ClientKey: c.TLS.ClientKey,
			TLSServerName: c.TLS.ServerName, Insecure: c.TLS.SkipVerify,
		})
		if err != nil {
			return nil, fmt.Errorf("vaultstore: reading the TLS files: %w", err)
		}
	}
	if os.Getenv(api.EnvVaultClientTimeout) == "" {
		conf.Timeout = DefaultTimeout
	}
	conf.Timeout = cmp.Or(c.Timeout, conf.Timeout)
	if os.Getenv(api.EnvVaultMaxRetries) == "" {
		conf.MaxRetries = 1
	}
	conf.MinRetryWait, conf.MaxRetryWait = 50*time.Millisecond, 100*time.Millisecond
	conf.CheckRetry = repeatsSoon
	// Without it a performance standby (Enterprise) may show the state before our
	// own write, and a write of ours would look lost.
	conf.ReadYourWrites = true
	transport, ok := conf.HttpClient.Transport.(*http.Transport)
	if !ok {
		return nil, errors.New("vaultstore: preparing the transport: vault/api brought an unknown one")
	}
	readAgain(transport, c.TLS)
	transport.MaxIdleConnsPerHost = min(max(cmp.Or(c.Concurrency, DefaultConcurrency), DefaultConcurrency), maxConnections)
	transport.MaxConnsPerHost = maxConnections
	transport.MaxIdleConns = max(transport.MaxIdleConns, transport.MaxIdleConnsPerHost)
	overSocket(conf, transport)
	conf.HttpClient.Transport = observer{next: transport, metrics: c.Metrics}
	return conf, nil
}

// readAgain reads the client's certificate at each handshake, so that it can be
// renewed while the process runs: vault/api keeps the one it read first.
func readAgain(transport *http.Transport, t TLS) {
	if t.ClientCert == "" || transport.TLSClientConfig == nil {
		return
	}
	transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(t.ClientCert, t.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("reading VAULT_CLIENT_CERT and VAULT_CLIENT_KEY: %w", err)
		}
		return &cert, nil
	}
}

// repeatsSoon is the policy of vault/api without 429: a quota's Retry-After may
// be longer than any call should block, so it goes up as a verdict.
func repeatsSoon(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if resp != nil && resp.StatusCode == http.StatusTooManyRequests {
		return false, nil
	}
	return api.DefaultRetryPolicy(ctx, resp, err)
}

// overSocket serves unix:// addresses, such as that of a Vault agent beside us.
// vault/api does it itself, but only on a transport nobody wrapped.
func overSocket(conf *api.Config, transport *http.Transport) {
	socket, ok := strings.CutPrefix(cmp.Or(conf.AgentAddress, conf.Address), "unix://")
	if !ok {
		return
	}
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	conf.Address, conf.AgentAddress = "http://localhost", ""
}
