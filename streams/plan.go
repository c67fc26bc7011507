package streams

import (
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
)

// Topology is what has to be on the broker. Make one with Plan; it is
// immutable and safe for concurrent use.
type Topology struct {
	cfg       Config
	names     Names
	streams   []stream // in the order they are created
	consumers []consumer
	owned     []ownedStream
}

// stream is a stream, or a bucket, which is a stream as well.
type stream struct {
	kind Kind
	name string // as its owner knows it: without KV_ or OBJ_
	want jetstream.StreamConfig
}

type consumer struct {
	stream string
	want   jetstream.ConsumerConfig
	owned  bool // lives on another team's stream
}

// ownedStream is another team's stream and what it must do for us.
type ownedStream struct {
	name, setting string
	anyOf         []string // one of these subjects must arrive there
	allOf         []string // all of these must
	schedules     bool
	input         bool
}

// group is a set of subjects that lives in one stream.
type group struct {
	name, owned, setting string
	subjects             []string
	durable              string // "" when nobody consumes it
	input                bool
}

// Plan returns the topology of a configuration. It asks no server.
func Plan(cfg Config) Topology {
	cfg = cfg.withDefaults()
	t := Topology{cfg: cfg, names: cfg.Owned.or(defaults())}
	ours := map[string][]string{}
	for _, g := range cfg.groups(t.names) {
		if g.durable != "" {
			t.consumers = append(t.consumers, consumer{stream: g.name, want: cfg.consumer(g), owned: g.owned != ""})
		}
		if g.owned == "" {
			ours[g.name] = append(ours[g.name], g.subjects...)
			continue
		}
		o := ownedStream{name: g.owned, setting: g.setting, input: g.input, schedules: g.durable == DurableDue}
		if g.input {
			o.anyOf = g.subjects // they may use further tokens or not
		} else {
			o.allOf = cfg.publishedUnder(g.subjects)
		}
		t.owned = append(t.owned, o)
	}
	t.streams = append(cfg.eventStreams(ours), cfg.buckets()...)
	return t
}

// Names returns the streams to publish to and consume from.
func (t Topology) Names() Names { return t.names }

// groups lists every subject of the contract once.
func (c Config) groups(n Names) []group {
	o, s := c.Owned, settings()
	return []group{
		{n.Connects, o.Connects, s.Connects, c.withTokens(events.TypeConnectRequested), DurableConnects, true},
		{n.Syncs, o.Syncs, s.Syncs, c.withTokens(events.TypeSyncRequested), DurableSyncs, true},
		{n.Erasures, o.Erasures, s.Erasures, c.withTokens(events.TypeErasureRequested), DurableErasures, true},
		{n.Callbacks, o.Callbacks, s.Callbacks, c.withTokens(events.TypeCallbackReceived), DurableCallbacks, true},
		{n.Events, o.Events, s.Events, c.outputSubjects(), "", false},
		{n.Timers, o.Timers, s.Timers, []string{c.under(events.SubjectTimer), c.under(events.SubjectDue)}, DurableDue, false},
		{n.DLQ, o.DLQ, s.DLQ, c.dlqSubjects(), "", false},
	}
}

func (c Config) under(base string) string { return c.Codec.Subject(base) + ".>" }

// withTokens returns a subject alone and with further tokens behind it.
func (c Config) withTokens(base string) []string {
	return []string{c.Codec.Subject(base), c.under(base)}
}

func (c Config) outputSubjects() []string {
	var all []string
	for _, typ := range events.OutputTypes() {
		if events.HasConnection(typ) {
			all = append(all, c.withTokens(typ)...)
		} else {
			all = append(all, c.Codec.Subject(typ)) // what is behind it may be somebody else's
		}
	}
	return all
}

// dlqSubjects are the dead letters of our inputs only: plain dlq.> would
// swallow those of everybody else in the account.
func (c Config) dlqSubjects() []string {
	var all []string
	for _, typ := range events.InputTypes() {
		all = append(all, c.withTokens(events.SubjectDLQ+"."+typ)...)
	}
	return append(all, c.under(events.SubjectDLQ+"."+events.SubjectDue))
}

// publishedUnder picks, of a subject alone and with tokens, what is really
// published to: another team's stream need not hold what never comes.
func (c Config) publishedUnder(subjects []string) []string {
	if !slices.Contains(subjects, c.Codec.Subject(events.TypeTransactionsFetched)) {
		return subjects
	}
	var used []string
	for _, typ := range events.OutputTypes() {
		if !events.HasConnection(typ) {
			continue // an operator's command publishes it, and asks for it itself
		}
		s := c.Codec.Subject(typ)
		if c.PerConnection {
			s += ".*"
		}
		used = append(used, s)
	}
	return used
}

func (c Config) consumer(g group) jetstream.ConsumerConfig {
	filters := g.subjects
	if g.durable == DurableDue {
		filters = []string{c.under(events.SubjectDue)}
	}
	cc := jetstream.ConsumerConfig{
		Durable: g.durable, Description: "finx-connector, lane of the same name",
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy, AckWait: c.AckWait,
		// Attempts are counted by the connector: the broker's count is burnt by
		// restarts, and at its limit it drops the message with a mere advisory.
		MaxDeliver: -1,
		// No BackOff: it distorts every delay the connector asks for.
		MaxAckPending: c.MaxAckPending,
		ReplayPolicy:  jetstream.ReplayInstantPolicy,
	}
	if len(filters) == 1 {
		cc.FilterSubject = filters[0]
	} else {
		cc.FilterSubjects = filters
	}
	return cc
}
