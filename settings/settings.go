package settings

import (
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// Settings is everything that can be set, parsed and checked. It prints without
// its secrets. Make one with Load.
type Settings struct {
	NATS        NATS
	Vault       Vault
	FinX        FinX
	Subjects    Subjects
	Streams     Streams
	Fetch       Fetch
	Concurrency Concurrency
	Handling    Handling
	Process     Process

	// Warnings are about settings that are probably mistakes but stop nothing.
	Warnings []string
	values   []Value
	files    []SecretFile
}

// NATS says where the broker is and how we prove who we are.
type NATS struct {
	URL          secret.Text // comma list; secret because it may carry a password. See ShownURL
	CredsFile    string
	NkeySeedFile string
	CAFile       string
	CertFile     string
	KeyFile      string
	TLSFirst     bool   // TLS before the broker's greeting
	InboxPrefix  string // of the subjects that replies come on
}

// ShownURL returns the addresses, scheme and host only.
func (n NATS) ShownURL() string {
	parts := strings.Split(n.URL.Reveal(), ",")
	for i, p := range parts {
		if u, err := url.Parse(strings.TrimSpace(p)); err == nil {
			parts[i] = u.Scheme + "://" + u.Host
		} else {
			parts[i] = "(unreadable)"
		}
	}
	return strings.Join(parts, ",")
}

// Vault says where the secrets are kept and how to log in.
type Vault struct {
	Addr, Namespace         string
	Token                   secret.Text
	TokenFile, SecretIDFile string // where Token and SecretID were read from; empty when given directly
	CACert, CAPath          string // files
	ClientCert, ClientKey   string // files
	TLSServerName           string
	SkipVerify              bool
	Auth                    string // AuthToken, AuthAppRole or AuthKubernetes
	AuthMount               string // empty = as the method is called
	RoleID, SecretID        secret.Text
	KubernetesRole, JWTPath string
	KVMount, KVPrefix       string

	TransitMount, TransitKey string      // seal what is in escrow, unless EscrowKeys is set
	EscrowKeys               secret.Text // comma list of base64 keys of 32 bytes each, checked; the first seals, all open
	EscrowDir                string      // absolute path for sealed answers of this host; empty = none
}

// The ways to log in to Vault.
const (
	AuthToken      = "token"
	AuthAppRole    = "approle"
	AuthKubernetes = "kubernetes"
)

// FinX says where finX is and how it is spoken to.
type FinX struct {
	BaseURL         string // without a slash at the end
	AllowHTTP       bool   // BaseURL may be http beyond loopback
	ClientID        string
	ClientSecret    secret.Text
	Paths           Paths
	Timeouts        Timeouts
	RetryBudget     time.Duration
	ThrottleDefault time.Duration
	Rate            float64 // calls a second, of all replicas together; 0 = no bound
	Concurrency     int     // calls at once, of a process; 0 = no bound of its own
	MaxBodyBytes    int64
	CodeLifetime    time.Duration
	RefreshSkew     time.Duration
	RefreshLifetime time.Duration
	ConsentLifetime time.Duration

	KeepAliveLead  time.Duration // below RefreshLifetime
	KeepAliveRate  float64       // rotations a second, of all replicas together
	ExpiringNotice time.Duration // below KeepAliveLead
	TokenReplay    string        // ReplayAlways or ReplayNever
}

// What is done about a token call that got no answer.
const (
	ReplayAlways = "always" // send it once more, with the same value
	ReplayNever  = "never"
)

// Paths are finX's resources below FinX.BaseURL.
type Paths struct{ Access, Sync, Token, Revoke, Accounts, Transactions, Probe string }

// Timeouts bound one attempt of a call to finX.
type Timeouts struct{ Link, Token, Accounts, Page time.Duration }

// Subjects says how subjects are formed and who may be sent where.
type Subjects struct {
	Prefix           string // without the dot
	PerConnection    bool
	RedirectURIAllow []string // origins, lower case; empty = any https, and http on loopback
	MaxInputBytes    int64
}

// The names of the streams. Another name in the settings means that the stream
// belongs to another team: it is bound to and never created.
const (
	DefaultStreamRequests  = events.StreamRequests
	DefaultStreamCallbacks = events.StreamCallbacks
	DefaultStreamEvents    = events.StreamEvents
	DefaultStreamTimers    = events.StreamTimers
	DefaultStreamDLQ       = events.StreamDLQ
)

// Streams names the streams and bounds those that are ours. Requests holds the
// connect requests, Syncs and Erasures the other two inputs that by default
// share a stream with them.
type Streams struct {
	Requests, Syncs, Erasures      string
	Callbacks, Events, Timers, DLQ string
	Replicas                       int           // 0 = 3 on a cluster of three or more, else 1
	MaxAge                         time.Duration // 0 = no bound
	MaxBytes                       int64         // 0 = no bound
}

// Fetch says how transactions are read and passed on.
type Fetch struct {
	Interval   time.Duration
	PageSize   int
	ChunkBytes int64
	Overlap    time.Duration
	SinceType  string // booked, created or modified
}

// Concurrency is how many events of a lane are handled at once, a process.
type Concurrency struct{ Connects, Callbacks, Syncs, Erasures, Due int }

// Handling bounds the work on one event.
type Handling struct {
	ConnectTimeout, CallbackTimeout, SyncTimeout time.Duration
	AckWait                                      time.Duration
	MaxAttempts                                  int
	RetryDelayMax                                time.Duration
	ParkAfter                                    time.Duration // longer waits are timers
	BreakerFailures                              int
	BreakerWaitMax                               time.Duration
	OutageAfter                                  time.Duration
	PublishTimeout                               time.Duration
	LeaseTTL                                     time.Duration
	ClockSkew                                    time.Duration
}

// Process is about the process itself.
type Process struct {
	ListenAddr         string
	LogLevel           slog.Level
	LogFormat          string // json or text
	OTLPEndpoint       string
	OTLPTracesEndpoint string
	DrainTimeout       time.Duration
	SweepRate          int // secrets a second; 0 = no sweep
}

// Value is the value of one setting as it may be shown.
type Value struct {
	Env    string
	Shown  string // "[redacted]" for a secret, empty when there is none
	Source string // environment, the file with its line, or default
}

// Values returns every setting with its value and where that came from, in the
// order of Table. No secret is in it.
func (s Settings) Values() []Value { return s.values }
