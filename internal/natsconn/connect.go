// Package natsconn opens the one connection to NATS that a process shares.
//
// The options are chosen so that nothing is lost silently: the connection never
// gives up reconnecting, nothing is buffered while it is away (a publish or an
// ack fails at once instead of vanishing with the buffer), and what the broker
// says out of band (a permission violation, a slow consumer) is logged, counted
// and kept for readiness.
package natsconn

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// DefaultInboxPrefix keeps this program's replies apart from those of other
// users of the account: a shared _INBOX.> lets anybody read them.
const DefaultInboxPrefix = "_INBOX_connector"

// DefaultName is the connection's name in the broker's connection list.
const DefaultName = "finx-connector"

const (
	reconnectWait    = 250 * time.Millisecond
	reconnectJitter  = 750 * time.Millisecond
	pingInterval     = 10 * time.Second
	pingsOutstanding = 2
	connectTimeout   = 5 * time.Second
)

// Config says where the broker is and who we are. Only URL is required.
type Config struct {
	URL          string // comma list of nats://, tls://, ws:// or wss:// addresses; setting NATS_URL
	CredsFile    string // user JWT and seed, read again at every connect; setting NATS_CREDS
	NkeySeedFile string // setting NATS_NKEY_SEED_FILE
	// The three files are read again at every connect, so that a certificate can
	// be replaced while the process runs.
	CAFile   string // PEM, added to nothing: it replaces the system's roots; setting NATS_CA
	CertFile string // client certificate, PEM; setting NATS_CERT
	KeyFile  string // its key, PEM; setting NATS_KEY
	TLSFirst bool   // TLS before the broker's greeting; setting NATS_TLS_FIRST

	Name         string        // DefaultName when empty
	InboxPrefix  string        // DefaultInboxPrefix when empty; setting NATS_INBOX_PREFIX
	DrainTimeout time.Duration // how long Drain may take; 30 s when zero; above the longest job
	Logger       *slog.Logger  // slog.Default when nil
	OnState      func(State)   // called at every change, one call at a time; it must not block
	Metrics      *Metrics      // nil counts nothing

	// Extra options come last. Tests use them for in-process connections.
	Extra []nats.Option
}

// Connect opens the connection. It returns without error when the broker cannot
// be reached yet and goes on trying for ever: a broker that is down at the start
// is an outage, not a mistake. What is a mistake (an unreadable file, a URL that
// is none) is an error that names the setting; no credential is ever in it.
func Connect(cfg Config) (*nats.Conn, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if err := checkURL(cfg.URL); err != nil {
		return nil, err
	}
	auth, err := authOptions(cfg)
	if err != nil {
		return nil, err
	}
	w := newWatcher(cfg)
	opts := append(baseOptions(cfg), auth...)
	opts = append(opts, w.options()...)
	opts = append(opts, cfg.Extra...)
	nc, err := nats.Connect(cfg.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("natsconn: connecting: %w", err)
	}
	w.opened(nc)
	return nc, nil
}

func baseOptions(cfg Config) []nats.Option {
	name, inbox, drain := cfg.Name, cfg.InboxPrefix, cfg.DrainTimeout
	if name == "" {
		name = DefaultName
	}
	if inbox == "" {
		inbox = DefaultInboxPrefix
	}
	if drain == 0 {
		drain = nats.DefaultDrainTimeout
	}
	return []nats.Option{
		nats.Name(name),
		nats.CustomInboxPrefix(inbox),
		nats.Timeout(connectTimeout),
		nats.RetryOnFailedConnect(true),
		// The client's default gives up after 60 tries and closes for good.
		nats.MaxReconnects(-1),
		// With a buffer, an ack sent while the broker is away returns nil and
		// may never arrive.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(pingsOutstanding),
		// Credentials rotate: being refused twice is not a reason to stay away.
		nats.IgnoreAuthErrorAbort(),
		nats.PermissionErrOnSubscribe(true),
		nats.DrainTimeout(drain),
	}
}

// checkURL names the bad entry by its place, not by its text: a mistyped URL
// with a password in it would end up in the log.
func checkURL(list string) error {
	if strings.TrimSpace(list) == "" {
		return errors.New("natsconn: reading NATS_URL: it is empty")
	}
	for i, entry := range strings.Split(list, ",") {
		entry = strings.TrimSpace(entry)
		if !strings.Contains(entry, "://") {
			entry = "nats://" + entry
		}
		u, err := url.Parse(entry)
		if err != nil || u.Host == "" {
			return fmt.Errorf("natsconn: reading NATS_URL: entry %d is not of the form nats://host:port", i+1)
		}
	}
	return nil
}
