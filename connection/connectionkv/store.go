package connectionkv

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// The names of the buckets, which operators see.
const (
	BucketConnections = "finx_connections"
	BucketLeases      = "finx_leases"
)

// Defaults of Config.
const (
	DefaultTimeout       = 5 * time.Second
	DefaultMaxValueBytes = 256 << 10
)

// The answers of a Store; the same values as in package connection, which code
// above uses without knowing this store.
var (
	ErrNotFound      = connection.ErrNotFound
	ErrExists        = connection.ErrExists
	ErrConflict      = connection.ErrConflict
	ErrStateTaken    = connection.ErrStateTaken
	ErrStateConsumed = connection.ErrStateConsumed
	ErrLeaseHeld     = connection.ErrLeaseHeld
	ErrLeaseLost     = connection.ErrLeaseLost
)

// StateBinding and Lease are declared in package connection for the same reason.
type (
	StateBinding = connection.StateBinding
	Lease        = connection.Lease
)

// Config is what a Store is made of. Only JS is required.
type Config struct {
	JS            jetstream.JetStream
	Timeout       time.Duration // of one request to NATS; 0 = DefaultTimeout
	MaxValueBytes int           // of one record; 0 = DefaultMaxValueBytes
	Metrics       *Metrics      // nil = none
}

// Store keeps records, state bindings and leases in NATS KV. It is safe for
// concurrent use, by any number of replicas.
//
// Errors: the sentinels above are found with errors.Is. ErrConflict and
// ErrLeaseHeld carry the verdict Retry with no dependency to blame, ErrStateTaken
// and ErrStateConsumed the verdict GiveUp (rejected); ErrNotFound and ErrExists
// carry none, because what they mean is the caller's to say. Errors of NATS
// carry the verdict Retry, marked ambiguous when a write may have taken effect
// and reading again could not tell.
type Store struct {
	records  bucket
	leases   bucket
	maxValue int
	metrics  *Metrics
}

// New returns a Store. It does no I/O; see Check.
func New(c Config) (*Store, error) {
	if c.JS == nil {
		return nil, errors.New("connectionkv: no JetStream handle")
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MaxValueBytes <= 0 {
		c.MaxValueBytes = DefaultMaxValueBytes
	}
	return &Store{
		records:  bucket{js: c.JS, name: BucketConnections, timeout: c.Timeout},
		leases:   bucket{js: c.JS, name: BucketLeases, timeout: c.Timeout},
		maxValue: c.MaxValueBytes,
		metrics:  c.Metrics,
	}, nil
}

// checkToken refuses what may not stand in a key: it would address another
// one, or many. The value is an input of the event, so the verdict is final.
func checkToken(field, s string) error {
	if s == "" {
		return fault.Permanent(fault.Malformed, fmt.Errorf("%s: missing", field))
	}
	const maxLen = 256
	ok := len(s) <= maxLen
	for _, c := range []byte(s) {
		ok = ok && (c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_')
	}
	if !ok {
		return fault.Permanent(fault.Malformed, fmt.Errorf("%s: only letters, digits, - and _ are allowed, at most %d of them", field, maxLen))
	}
	return nil
}
