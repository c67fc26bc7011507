package connectionkv

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// BucketControl holds what the replicas tell each other.
const BucketControl = "finx_control"

// Defaults of ControlConfig.
const (
	DefaultReplicaTTL   = 30 * time.Second
	DefaultReplicaRenew = 10 * time.Second
)

// suspectTTL is how long it is remembered that a handler did not return.
const suspectTTL = 24 * time.Hour

// ControlConfig is what a Control is made of. JS and Holder are required.
type ControlConfig struct {
	JS      jetstream.JetStream
	Holder  string        // names this process and no other; characters a key cannot have become dashes
	Version string        // of this program, for people who look at the replicas; may be empty
	Timeout time.Duration // of one request to NATS; 0 = DefaultTimeout
	// ReplicaTTL is how long a replica counts after it was last heard of, rounded
	// up to whole seconds; it says that it is there every ReplicaRenew. 0 = the
	// defaults; renewals must be the more frequent.
	ReplicaTTL, ReplicaRenew time.Duration
	Logger                   *slog.Logger // nil = none
	Metrics                  *Metrics     // nil = none
}

// Control is what the replicas share to act as one: small states such as a
// breaker's (Load, Save, Watch), how many of them there are (Announce, Replicas),
// and which deliveries were begun and never returned (Begun, Returned). Safe for
// concurrent use, by any number of replicas.
//
//	breaker.<server>             a state, written by compare-and-set
//	replica.<holder>             a live replica, with a TTL
//	suspect.<stream>.<sequence>  how often a delivery was begun, with a TTL
//
// Reads are answered by the leader of the bucket. Errors of NATS carry the
// verdict Retry, marked ambiguous when a write may have taken effect and reading
// again could not tell. Nobody should stop working for them: what is lost with
// the bucket is that the replicas know of each other.
type Control struct {
	bucket     bucket
	replicaKey string
	replica    []byte // names this process, and not the next one of the same holder
	ttl, renew time.Duration
	suspectTTL time.Duration
	pace       pace
	count      atomic.Int64 // of live replicas, as last heard of
	logger     *slog.Logger
	metrics    *Metrics
}

// NewControl returns a Control. It does no I/O; see Check.
func NewControl(c ControlConfig) (*Control, error) {
	if c.JS == nil {
		return nil, errors.New("connectionkv: no JetStream handle")
	}
	if c.Holder == "" {
		return nil, errors.New("connectionkv: no name of the holder")
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.ReplicaTTL <= 0 {
		c.ReplicaTTL = DefaultReplicaTTL
	}
	if c.ReplicaRenew <= 0 {
		c.ReplicaRenew = DefaultReplicaRenew
	}
	if c.ReplicaRenew >= c.ReplicaTTL {
		return nil, fmt.Errorf("connectionkv: a replica that is renewed every %s cannot live for %s", c.ReplicaRenew, c.ReplicaTTL)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	value, err := json.Marshal(struct {
		Replica
		V     int    `json:"v"`
		Nonce string `json:"nonce"`
	}{Replica{Holder: c.Holder, Since: time.Now().UTC(), Version: c.Version}, noteVersion, rand.Text()})
	if err != nil {
		return nil, fmt.Errorf("connectionkv: naming the holder: %w", err)
	}
	return &Control{
		bucket:     bucket{js: c.JS, name: BucketControl, timeout: c.Timeout},
		replicaKey: replicaPrefix + strings.Map(keyRune, c.Holder),
		replica:    value,
		ttl:        (c.ReplicaTTL + minTTL - 1).Truncate(minTTL),
		renew:      c.ReplicaRenew,
		suspectTTL: suspectTTL,
		pace:       defaultPace(),
		logger:     c.Logger,
		metrics:    c.Metrics,
	}, nil
}

// Load returns the value of a key and its revision: nil and 0 when there is none,
// be it that there never was one or that it was deleted. Keys are tokens of
// letters, digits, - and _ joined by dots; others are refused with the verdict
// GiveUp (malformed).
func (c *Control) Load(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	value, revision, err = c.load(ctx, key)
	c.metrics.observe(opControlLoad, err)
	if err != nil {
		return nil, 0, fmt.Errorf("connectionkv: loading a shared state: %w", err)
	}
	return value, revision, nil
}

func (c *Control) load(ctx context.Context, key string) ([]byte, uint64, error) {
	if err := checkName("key", key); err != nil {
		return nil, 0, err
	}
	now, err := c.bucket.read(ctx, key)
	if err != nil || !now.live {
		return nil, 0, err
	}
	return present(now.value), now.revision, nil
}

// Save stores value if revision is still that of the key, 0 meaning that it has
// no value, and returns the new one. Somebody else having been first is
// ErrConflict; after any error the state has to be loaded again.
func (c *Control) Save(ctx context.Context, key string, value []byte, revision uint64) (newRevision uint64, err error) {
	newRevision, err = c.save(ctx, key, value, revision)
	c.metrics.observe(opControlSave, err)
	if err != nil {
		return 0, fmt.Errorf("connectionkv: saving a shared state: %w", err)
	}
	return newRevision, nil
}

func (c *Control) save(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if err := checkName("key", key); err != nil {
		return 0, err
	}
	if revision != 0 {
		return c.bucket.write(ctx, key, value, revision, 0)
	}
	revision, err := c.bucket.create(ctx, key, value, 0)
	if errors.Is(err, ErrExists) {
		return 0, conflict() // the caller's 0 was read before that value came
	}
	return revision, err
}

// Check reports whether the bucket is there and fit, for readiness and doctor.
// The remedy is in the error.
func (c *Control) Check(ctx context.Context) error {
	if err := c.bucket.check(ctx); err != nil {
		return fmt.Errorf("connectionkv: checking bucket %s: %w", c.bucket.name, err)
	}
	return nil
}

// present makes an empty value one that is not nil, which would say that there is
// none.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// checkName refuses a key that is not tokens joined by dots.
func checkName(field, name string) error {
	for token := range strings.SplitSeq(name, ".") {
		if err := checkToken(field, token); err != nil {
			return err
		}
	}
	return nil
}

// keyRune keeps what one token of a key may have.
func keyRune(r rune) rune {
	if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '_' {
		return r
	}
	return '-'
}
