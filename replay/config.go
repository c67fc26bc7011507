package replay

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/retry"
)

// Defaults of Config's zero fields.
const (
	DefaultTimeout = 5 * time.Second
	// DefaultBudget is how long the broker may be away before a replay stops: much
	// longer than a leader election takes.
	DefaultBudget = 60 * time.Second
	// DefaultHold is how long a run that is not heard of still holds its replay.
	DefaultHold = 8 * time.Second

	DefaultCodeLifetime = time.Hour
	DefaultPageSize     = 1000
)

// Records is what is known of the connections; the errors are those of package
// connection.
type Records interface {
	Get(ctx context.Context, id string) (connection.Record, uint64, error)
	List(ctx context.Context, each func(connection.Record) error) error
	LookupState(ctx context.Context, state string) (connection.StateBinding, error)
}

// Checkpoints keeps one value a key. Revision 0 says that there is none;
// connection.ErrConflict, that it was written by somebody else.
type Checkpoints interface {
	Load(ctx context.Context, key string) (value []byte, revision uint64, err error)
	SaveFor(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (newRevision uint64, err error)
}

// Streams names the stream of each group of subjects.
type Streams struct{ Connects, Syncs, Erasures, Callbacks, Events string }

// Config is what a Replayer is made of. JS, Records and Checkpoints are required.
type Config struct {
	JS            jetstream.JetStream
	Records       Records
	Checkpoints   Checkpoints
	Codec         events.Codec
	Streams       Streams // the defaults of package events where empty
	PerConnection bool    // output subjects end with the connection id

	CodeLifetime time.Duration // a code older than this is not sent; DefaultCodeLifetime when zero
	PageSize     int           // transactions a page, for estimates; DefaultPageSize when zero

	Holder  string        // who runs this, for the next one to read
	Timeout time.Duration // of one request to the broker; DefaultTimeout when zero
	Budget  time.Duration // within which a request is made again; DefaultBudget when zero
	Hold    time.Duration // DefaultHold when zero
}

// Replayer plans and runs replays. It is safe for concurrent use.
type Replayer struct {
	cfg    Config
	policy retry.Policy
}

// New returns a Replayer. It asks no server.
func New(cfg Config) (*Replayer, error) {
	if cfg.JS == nil || cfg.Records == nil || cfg.Checkpoints == nil {
		return nil, errors.New("replay: reading configuration: JS, Records or Checkpoints is missing")
	}
	s := &cfg.Streams
	for name, otherwise := range map[*string]string{
		&s.Connects: events.StreamRequests, &s.Syncs: events.StreamRequests, &s.Erasures: events.StreamRequests,
		&s.Callbacks: events.StreamCallbacks, &s.Events: events.StreamEvents,
	} {
		if *name == "" {
			*name = otherwise
		}
	}
	for d, otherwise := range map[*time.Duration]time.Duration{
		&cfg.Timeout: DefaultTimeout, &cfg.Budget: DefaultBudget, &cfg.Hold: DefaultHold, &cfg.CodeLifetime: DefaultCodeLifetime,
	} {
		if *d <= 0 {
			*d = otherwise
		}
	}
	if cfg.PageSize <= 0 {
		cfg.PageSize = DefaultPageSize
	}
	return &Replayer{cfg: cfg, policy: retry.Policy{Budget: cfg.Budget, Jitter: 0.2}}, nil
}

// inputGroup is a type of inputs and the stream it lives in.
type inputGroup struct{ typ, stream string }

func (r *Replayer) inputGroups() []inputGroup {
	s := r.cfg.Streams
	return []inputGroup{
		{events.TypeConnectRequested, s.Connects},
		{events.TypeSyncRequested, s.Syncs},
		{events.TypeErasureRequested, s.Erasures},
		{events.TypeCallbackReceived, s.Callbacks},
	}
}

// streamsOf returns the streams of some groups, each once, in their order.
func streamsOf(groups []inputGroup) []string {
	var names []string
	for _, g := range groups {
		if !slices.Contains(names, g.stream) {
			names = append(names, g.stream)
		}
	}
	return names
}
