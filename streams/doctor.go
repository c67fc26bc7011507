package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
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
}

// Health asks how every stream and consumer of the topology is. What is missing is
// left out: Diff says so. The error is the broker's.
func (t Topology) Health(ctx context.Context, js jetstream.JetStream) ([]StreamHealth, []ConsumerHealth, error) {
	var (
		streams   []StreamHealth
		consumers []ConsumerHealth
	)
	handles := map[string]jetstream.Stream{}
	look := func(kind Kind, name, full string) error {
		s, err := js.Stream(ctx, full)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if err != nil {
			return judge(fmt.Errorf("streams: reading stream %s: %w", full, err))
		}
		handles[full] = s
		streams = append(streams, streamHealth(kind, name, s.CachedInfo()))
		return nil
	}
	for _, s := range t.streams {
		if err := look(s.kind, s.name, s.want.Name); err != nil {
			return streams, nil, err
		}
	}
	for _, o := range t.owned {
		if handles[o.name] == nil {
			if err := look(KindStream, o.name, o.name); err != nil {
				return streams, nil, err
			}
		}
	}
	for _, c := range t.consumers {
		s := handles[c.stream]
		if s == nil {
			continue
		}
		h, found, err := consumerHealth(ctx, s, c)
		if err != nil {
			return streams, consumers, err
		}
		if found {
			consumers = append(consumers, h)
		}
	}
	return streams, consumers, nil
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

func consumerHealth(ctx context.Context, s jetstream.Stream, c consumer) (h ConsumerHealth, found bool, err error) {
	pull, err := s.Consumer(ctx, c.want.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrNotPullConsumer) {
		return h, false, nil
	}
	if err != nil {
		return h, false, judge(fmt.Errorf("streams: reading consumer %s of stream %s: %w", c.want.Durable, c.stream, err))
	}
	info := pull.CachedInfo()
	h = ConsumerHealth{
		Stream: c.stream, Name: c.want.Durable, Peers: peersOf(info.Cluster),
		Pending: info.NumPending, AckPending: info.NumAckPending, MaxAckPending: info.Config.MaxAckPending,
		Redelivered: info.NumRedelivered, Waiting: info.NumWaiting, AckWait: info.Config.AckWait,
		MaxAge: s.CachedInfo().Config.MaxAge, At: info.TimeStamp,
	}
	if info.Paused {
		h.Paused = max(info.PauseRemaining, time.Second)
	}
	if h.Pending > 0 || h.AckPending > 0 {
		h.Oldest = oldest(ctx, s, info.AckFloor.Stream+1, filtersOf(info.Config))
	}
	return h, true, nil
}

// oldest returns when the first message from sequence on was stored that passes a
// filter. Nothing but its time is looked at. An error only leaves it unknown: not
// everybody who may see a consumer may read its messages.
func oldest(ctx context.Context, s jetstream.Stream, sequence uint64, filters []string) time.Time {
	var first time.Time
	for _, filter := range filters {
		m, err := s.GetMsg(ctx, sequence, jetstream.WithGetMsgSubject(filter))
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

// ServeSubjects returns what serve publishes to, one subject of each kind, each in a
// form that does nothing to the server should it be handed one without a body: for
// natsconn.Rights. API subjects stand under js's prefix or domain only when that is
// the default.
func (t Topology) ServeSubjects() []string {
	const one = "00000000-0000-0000-0000-000000000000"
	c := t.cfg
	var all []string
	add := func(subjects ...string) { all = append(all, subjects...) }
	for _, typ := range events.OutputTypes() {
		if typ == events.TypeReplayCompleted {
			continue // which operators publish
		}
		subject := c.Codec.Subject(typ)
		if c.PerConnection {
			subject += "." + one
		}
		add(subject)
	}
	add(c.Codec.Subject(events.TypeSyncRequested), c.Codec.Subject(events.SubjectTimer)+".doctor")
	for _, typ := range events.InputTypes() {
		add(c.Codec.Subject(events.SubjectDLQ + "." + typ))
	}
	for _, consumer := range t.consumers {
		at := consumer.stream + "." + consumer.want.Durable
		// An acknowledgement has five tokens more, so this one is nobody's.
		add("$JS.API.CONSUMER.INFO."+at, "$JS.API.CONSUMER.MSG.NEXT."+at, "$JS.ACK."+at+".doctor")
	}
	for _, bucket := range []string{BucketConnections, BucketLeases, BucketControl, BucketEscrow} {
		add("$KV."+bucket+".doctor", "$JS.API.STREAM.MSG.GET."+keyValuePrefix+bucket)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TraceSubjects returns questions that the broker answers to whoever may see the
// topology or a part of it, for natsconn.Rights.
func (t Topology) TraceSubjects() []string {
	all := []string{"$JS.API.STREAM.INFO." + t.names.Events}
	for _, c := range t.consumers {
		all = append(all, "$JS.API.CONSUMER.INFO."+c.stream+"."+c.want.Durable)
	}
	return append(all, "$JS.API.INFO")
}
