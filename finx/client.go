// Package finx is the client of the finX API: widget links, tokens, accounts,
// transactions. One file a resource; do.go makes one attempt, verdict.go judges
// every answer.
//
// Every error carries one verdict of internal/fault. Reads and widget links are
// repeated inside for Config.RetryBudget; a token call goes over the wire once
// and its error says whether it may have taken effect. No error text holds a
// secret, a URL or a payload.
//
// What is known of finX, and how well, is written down in the project's notes on
// the API; a comment here names the doubt where the code has to be lenient.
package finx

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/finx-connector/finx-connector/internal/retry"
)

// Client speaks to one finX host with one client id. It is safe for concurrent
// use. It logs nothing: what happened is in its errors and Metrics.
type Client struct {
	cfg     Config
	http    *http.Client
	metrics *Metrics
	retries retry.Policy
}

// New returns a Client, or an error that names the setting at fault. It does not
// connect.
func New(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("finx: reading configuration: %w", err)
	}
	transport := cfg.Transport
	if transport == nil {
		transport = newTransport(cfg)
	}
	return &Client{
		cfg:     cfg,
		metrics: cfg.Metrics,
		http: &http.Client{
			Transport: transport,
			// A followed redirect would carry the credentials or replay the token
			// elsewhere. The 3xx itself is the answer, and an error.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		retries: retry.Policy{Budget: cfg.RetryBudget, Jitter: 0.2},
	}, nil
}

// CloseIdle closes the kept connections; calls under way are not touched.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }

// newTransport returns the pool.
//
// HTTP/1.1 only: there a request owns its connection, so net/http's promise not
// to repeat a POST without GetBody holds to the letter, where HTTP/2 may send a
// refused stream again, and one broken connection ends one call, not all.
func newTransport(cfg Config) *http.Transport {
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &http.Transport{
		Proxy:               cfg.Proxy,
		DialContext:         (&net.Dialer{Timeout: cfg.Timeouts.Dial, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: cfg.Timeouts.TLSHandshake,
		Protocols:           &http1,
		MaxIdleConns:        0, // no limit besides the one a host
		MaxIdleConnsPerHost: cfg.MaxIdlePerHost,
		// Shorter than the idle time-outs of usual load balancers (60 s and more):
		// the side that closes first is not the one that is surprised.
		IdleConnTimeout: 30 * time.Second,
		// A backstop behind the time-out of each call, which names itself.
		ResponseHeaderTimeout:  10*time.Second + max(cfg.Timeouts.Token, cfg.Timeouts.Transactions, cfg.Timeouts.Accounts, cfg.Timeouts.Link, cfg.Timeouts.Revoke),
		MaxResponseHeaderBytes: 64 << 10,
		// A connection that waits costs its buffers. A request without a body is below
		// 1 KiB, and larger reads and writes pass them by.
		WriteBufferSize: 1 << 10,
		ReadBufferSize:  2 << 10,
	}
}
