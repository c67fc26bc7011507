package natsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Facts are what a connection tells about the broker at its other end.
type Facts struct {
	URL        string // of the server, without credentials
	Server     string // its name
	Version    string
	Cluster    string // "" on a single server
	RTT        time.Duration
	MaxPayload int64
	TLS        string    // version of the protocol; "" without TLS
	CertEnd    time.Time // of the server's certificate; zero without TLS
	Loopback   bool      // the traffic does not leave this machine
	Login      bool      // the server asks who we are
	Inbox      error     // why answers cannot be heard; nil: they can
}

// Look asks an open connection. The error is that of the one round trip.
func Look(ctx context.Context, nc *nats.Conn) (Facts, error) {
	f := Facts{
		URL: nc.ConnectedUrlRedacted(), Server: nc.ConnectedServerName(), Version: nc.ConnectedServerVersion(),
		Cluster: nc.ConnectedClusterName(), MaxPayload: nc.MaxPayload(), Login: nc.AuthRequired(),
	}
	if host, _, err := net.SplitHostPort(nc.ConnectedAddr()); err == nil {
		ip := net.ParseIP(host)
		f.Loopback = ip != nil && ip.IsLoopback()
	}
	if state, err := nc.TLSConnectionState(); err == nil {
		f.TLS = tls.VersionName(state.Version)
		if len(state.PeerCertificates) > 0 {
			f.CertEnd = state.PeerCertificates[0].NotAfter
		}
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	asked := time.Now()
	if err := nc.FlushWithContext(ctx); err != nil {
		return f, fmt.Errorf("natsconn: asking for a sign of life: %w", err)
	}
	f.RTT = time.Since(asked)
	f.Inbox = hearsAnswers(ctx, nc)
	return f, nil
}

// hearsAnswers subscribes where answers go. A refusal comes before the answer to the
// ping that follows it.
func hearsAnswers(ctx context.Context, nc *nats.Conn) error {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.FlushWithContext(ctx); err != nil {
		return err
	}
	if err := nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), inbox) {
		return fmt.Errorf("%w: Subscription to %q", ErrForbidden, inbox)
	}
	return nil
}

// Once changes cfg so that Connect tries each address one time, waits no longer
// than limit for each, and returns why it failed instead of trying on.
func (cfg Config) Once(limit time.Duration) Config {
	cfg.Extra = append(slices.Clip(cfg.Extra), nats.RetryOnFailedConnect(false), nats.Timeout(limit), nats.MaxReconnects(0), nats.NoReconnect())
	return cfg
}

// Address is one entry of NATS_URL and whether anything listens there.
type Address struct {
	Host string // host and port
	Err  error  // nil: it takes connections
}

// Reach tries each address of a comma list, all at once, without speaking to
// whatever answers. It takes as long as ctx allows at most.
func Reach(ctx context.Context, list string) []Address {
	entries := strings.Split(list, ",")
	found := make([]Address, len(entries))
	var wg sync.WaitGroup
	for i, entry := range entries {
		wg.Go(func() { found[i] = reach(ctx, strings.TrimSpace(entry)) })
	}
	wg.Wait()
	return found
}

func reach(ctx context.Context, entry string) Address {
	if !strings.Contains(entry, "://") {
		entry = "nats://" + entry
	}
	u, err := url.Parse(entry)
	if err != nil { // its text would repeat the entry, which may hold a password
		return Address{Host: "(unreadable)", Err: errors.New("not an address")}
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	}
	if port == "" {
		port = "4222"
	}
	a := Address{Host: net.JoinHostPort(u.Hostname(), port)}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", a.Host)
	if err != nil {
		a.Err = err
		return a
	}
	_ = conn.Close()
	return a
}

// Complaints ends a request as soon as the broker says out of band that it is not
// allowed; by itself it would wait for its whole time-out and not know why. One
// request at a time; Observe fits Config.OnState. The zero value is ready.
type Complaints struct {
	mu   sync.Mutex
	seen time.Time
	end  context.CancelCauseFunc
}

// ErrForbidden says that the broker forbids what was asked; its text names the subject.
var ErrForbidden = errors.New("this user may not do that")

// Observe takes note of what the broker complains of.
func (c *Complaints) Observe(s State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.ProblemAt.After(c.seen) {
		return
	}
	c.seen = s.ProblemAt
	if _, what, forbidden := strings.Cut(s.Problem, "ermissions Violation for "); forbidden && c.end != nil {
		c.end(fmt.Errorf("%w: %s", ErrForbidden, what))
	}
}

// During makes a request. If the broker forbids it, the error is that.
func (c *Complaints) During(ctx context.Context, request func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	c.end = cancel
	c.mu.Unlock()
	err := request(ctx)
	c.mu.Lock()
	c.end = nil
	c.mu.Unlock()
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrForbidden) {
		return cause
	}
	return err
}

// Reason sorts why a connection could not be made.
type Reason string

// The reasons.
const (
	ReasonAway  Reason = "away"  // nothing answers, or not in time
	ReasonLogin Reason = "login" // the broker does not let us in
	ReasonTLS   Reason = "TLS"   // the two do not agree on how to encrypt, or whom to trust
	ReasonFiles Reason = "files" // a setting of ours
)

// WhyNot sorts the error of Connect.
func WhyNot(err error) Reason {
	if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) ||
		errors.Is(err, nats.ErrAccountAuthExpired) || errors.Is(err, nats.ErrNkeysNotSupported) {
		return ReasonLogin
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "natsconn: reading"):
		return ReasonFiles
	case errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted),
		strings.Contains(text, "tls: "), strings.Contains(text, "x509: "), strings.Contains(text, "certificate"):
		return ReasonTLS
	}
	return ReasonAway
}
