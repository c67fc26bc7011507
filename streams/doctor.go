package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/streamread"
)

// Account is what the broker says of JetStream for this user's account.
type Account struct {
	Enabled bool
	Domain  string
	// Level of the JetStream API: 4 came with server 2.14, whose message schedules are
	// our timers.
	Level         int
	Store         uint64 // bytes on disk
	MaxStore      int64  // bytes; -1 = no limit, and so on
	MaxStreams    int
	MaxConsumers  int
	MaxAckPending int
	Streams       int
	Consumers     int
}

// LevelSchedules is the first level of the JetStream API that knows schedules with all
// we ask of them.
const LevelSchedules = 4

// Account asks for the account's limits. JetStream being off, in the server or for
// the account, is no error.
func (t Topology) Account(ctx context.Context, js jetstream.JetStream) (Account, error) {
	info, err := js.AccountInfo(ctx)
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return Account{}, nil
	}
	if err != nil {
		return Account{}, judge(fmt.Errorf("streams: asking for the account: %w", err))
	}
	tier := info.Tier
	return Account{
		Enabled: true, Domain: info.Domain, Level: info.API.Level,
		Store: tier.Store, MaxStore: tier.Limits.MaxStore,
		MaxStreams: tier.Limits.MaxStreams, MaxConsumers: tier.Limits.MaxConsumers, MaxAckPending: tier.Limits.MaxAckPending,
		Streams: tier.Streams, Consumers: tier.Consumers,
	}, nil
}

// Peers is how the copies of a stream or consumer are.
type Peers struct {
	Leaderless bool     // nobody leads: it takes and gives nothing
	Offline    []string // servers
	Lagging    []string // servers that are behind, and online
}

// StreamHealth is how one stream of the topology is now.
type StreamHealth struct {
	Kind       Kind
	Name       string
	Replicas   int
	Cluster    string // "" on a single server
	Peers      Peers
	Messages   uint64
	Bytes      uint64
	MaxBytes   int64 // 0 and below: no limit
	MaxAge     time.Duration
	Duplicates time.Duration
	Oldest     time.Time // first message; zero when it is empty
	Lost       int       // messages that the store knows it has lost
	At         time.Time // the broker's clock
	Heard      time.Time // ours, when the answer came
}

// ConsumerHealth is how one consumer of the topology is now.
type ConsumerHealth struct {
	Stream, Name  string
	Peers         Peers
	Pending       uint64 // not delivered yet
	AckPending    int    // delivered, not acknowledged
	MaxAckPending int
	Redelivered   int
	Waiting       int           // pulls that wait: processes are at work
	Paused        time.Duration // for how much longer; 0 = it is not
	AckWait       time.Duration
	MaxAge        time.Duration // of its stream; 0 = no limit
	// Oldest is when the oldest message was stored that nobody has settled. Zero when
	// there is none, or it cannot be read.
	Oldest time.Time
	At     time.Time

	floor   uint64
	filters []string
}

// Health asks how every stream and consumer of the topology is. What is missing is
// left out: Diff says so. It goes on after an error and returns all of them. Each
// question is made through ask, nil meaning directly.
func (t Topology) Health(ctx context.Context, js jetstream.JetStream, ask func(context.Context, func(context.Context) error) error) (
	streams []StreamHealth, consumers []ConsumerHealth, errs []error,
) {
	if ask == nil {
		ask = func(ctx context.Context, question func(context.Context) error) error { return question(ctx) }
	}
	handles := map[string]jetstream.Stream{}
	for _, one := range t.everyStream() {
		full := one.want.Name
		err := ask(ctx, func(ctx context.Context) (err error) {
			handles[full], err = js.Stream(ctx, full)
			return err
		})
		switch {
		case err == nil:
			streams = append(streams, streamHealth(one.kind, one.name, handles[full].CachedInfo()))
		case !errors.Is(err, jetstream.ErrStreamNotFound):
			errs = append(errs, judge(fmt.Errorf("streams: reading stream %s: %w", full, err)))
		}
	}
	for _, c := range t.consumers {
		s := handles[c.stream]
		if s == nil {
			continue
		}
		err := ask(ctx, func(ctx context.Context) error {
			h, err := consumerHealth(ctx, s, c)
			if err == nil {
				consumers = append(consumers, h)
			}
			return err
		})
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrNotPullConsumer) {
			errs = append(errs, judge(fmt.Errorf("streams: reading consumer %s of stream %s: %w", c.want.Durable, c.stream, err)))
		}
	}
	for i := range consumers { // apart, because who may see a consumer may not read its messages
		h := &consumers[i]
		if h.Pending > 0 || h.AckPending > 0 {
			_ = ask(ctx, func(ctx context.Context) error {
				h.Oldest = oldest(ctx, js, *h)
				return ctx.Err()
			})
		}
	}
	return streams, consumers, errs
}

// everyStream lists ours and those of other teams, each once.
func (t Topology) everyStream() []stream {
	all := slices.Clone(t.streams)
	for _, o := range t.owned {
		if !slices.ContainsFunc(all, func(s stream) bool { return s.want.Name == o.name }) {
			all = append(all, stream{kind: KindStream, name: o.name, want: jetstream.StreamConfig{Name: o.name}})
		}
	}
	return all
}

func streamHealth(kind Kind, name string, info *jetstream.StreamInfo) StreamHealth {
	h := StreamHealth{
		Kind: kind, Name: name, Replicas: info.Config.Replicas, Peers: peersOf(info.Cluster),
		Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes, MaxAge: info.Config.MaxAge,
		Duplicates: info.Config.Duplicates, At: info.TimeStamp, Heard: time.Now(),
	}
	if info.Cluster != nil {
		h.Cluster = info.Cluster.Name
	}
	if info.State.Lost != nil {
		h.Lost = len(info.State.Lost.Msgs)
	}
	if info.State.Msgs > 0 {
		h.Oldest = info.State.FirstTime
	}
	return h
}

func consumerHealth(ctx context.Context, s jetstream.Stream, c consumer) (ConsumerHealth, error) {
	pull, err := s.Consumer(ctx, c.want.Durable)
	if err != nil {
		return ConsumerHealth{}, err
	}
	info := pull.CachedInfo()
	h := ConsumerHealth{
		Stream: c.stream, Name: c.want.Durable, Peers: peersOf(info.Cluster),
		Pending: info.NumPending, AckPending: info.NumAckPending, MaxAckPending: info.Config.MaxAckPending,
		Redelivered: info.NumRedelivered, Waiting: info.NumWaiting, AckWait: info.Config.AckWait,
		MaxAge: s.CachedInfo().Config.MaxAge, At: info.TimeStamp,
		floor: info.AckFloor.Stream, filters: filtersOf(info.Config),
	}
	if info.Paused {
		h.Paused = max(info.PauseRemaining, time.Second)
	}
	return h, nil
}

// oldest returns when the first message behind the floor of a consumer was stored that
// passes a filter of it. Nothing but its time is looked at. An error only leaves it
// unknown.
func oldest(ctx context.Context, js jetstream.JetStream, c ConsumerHealth) time.Time {
	var first time.Time
	for _, filter := range c.filters {
		m, err := streamread.Next(ctx, js, c.Stream, filter, c.floor+1)
		if err == nil && (first.IsZero() || m.Time.Before(first)) {
			first = m.Time
		}
	}
	return first
}

func peersOf(c *jetstream.ClusterInfo) Peers {
	if c == nil || c.Name == "" { // a single server leads whatever it has
		return Peers{}
	}
	p := Peers{Leaderless: c.Leader == ""}
	for _, r := range c.Replicas {
		switch {
		case r.Offline:
			p.Offline = append(p.Offline, r.Name)
		case !r.Current || r.Lag > 0:
			p.Lagging = append(p.Lagging, r.Name)
		}
	}
	slices.Sort(p.Offline)
	slices.Sort(p.Lagging)
	return p
}
