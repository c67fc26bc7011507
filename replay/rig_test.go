package replay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/replay"
	"github.com/finx-connector/finx-connector/streams"
)

const canaryCode = "canary-code-4711"

// rig is a broker with everything on it that the connector makes.
type rig struct {
	t     *testing.T
	js    jetstream.JetStream
	store *connectionkv.Store
	cfg   replay.Config

	targets int
}

type setup struct {
	url    string // a broker of one node when empty
	config streams.Config
}

func newRig(t *testing.T, s setup) *rig {
	t.Helper()
	if s.url == "" {
		s.url = natstest.Start(t).URL()
	}
	r := &rig{t: t, js: natstest.JetStream(t, s.url)}
	topology := streams.Plan(s.config)
	changes, err := topology.Diff(t.Context(), r.js)
	if err == nil {
		err = topology.Apply(t.Context(), r.js, changes)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.store, err = connectionkv.New(connectionkv.Config{JS: r.js})
	if err != nil {
		t.Fatal(err)
	}
	r.cfg = replay.Config{
		JS: r.js, Records: r.store, Checkpoints: r.control("one"), Codec: s.config.Codec, PerConnection: s.config.PerConnection,
		Holder: "one", Timeout: 2 * time.Second, Budget: 30 * time.Second, Hold: 400 * time.Millisecond,
	}
	return r
}

func (r *rig) control(holder string) *connectionkv.Control {
	r.t.Helper()
	c, err := connectionkv.NewControl(connectionkv.ControlConfig{JS: r.js, Holder: holder})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// replayer returns a Replayer as another operator would have it.
func (r *rig) replayer(change ...func(*replay.Config)) *replay.Replayer {
	r.t.Helper()
	cfg := r.cfg
	for _, c := range change {
		c(&cfg)
	}
	re, err := replay.New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return re
}

func (r *rig) plan(req replay.Request) *replay.Job {
	r.t.Helper()
	if req.By == "" {
		req.By = "ops@test"
	}
	j, err := r.replayer().Plan(r.t.Context(), req, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return j
}

func (r *rig) run(j *replay.Job) replay.Result {
	r.t.Helper()
	result, err := j.Run(r.t.Context(), replay.RunOptions{Rate: 1e5})
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

// output stores an event as the publisher does.
func (r *rig) output(o events.Output) uint64 {
	r.t.Helper()
	h := nats.Header(events.HeadersFor(o))
	h[jetstream.ExpectedStreamHeader] = []string{events.StreamEvents}
	return r.publish(&nats.Msg{Subject: r.cfg.Codec.OutputSubject(o.Type, o.ConnectionID, r.cfg.PerConnection), Header: h, Data: o.AppendJSON(nil)})
}

func (r *rig) publish(m *nats.Msg) uint64 {
	r.t.Helper()
	ack, err := r.js.PublishMsg(r.t.Context(), m)
	if err != nil {
		r.t.Fatalf("publishing %s: %v", m.Subject, err)
	}
	return ack.Sequence
}

// input stores data as bare JSON, with a message id unless it is empty.
func (r *rig) input(typ, id string, data any) uint64 {
	r.t.Helper()
	raw, err := json.Marshal(data)
	if err != nil {
		r.t.Fatal(err)
	}
	m := &nats.Msg{Subject: r.cfg.Codec.Subject(typ), Data: raw, Header: nats.Header{}}
	if id != "" {
		m.Header.Set(events.HeaderMsgID, id)
	}
	return r.publish(m)
}

// stream returns all messages of a stream.
func (r *rig) stream(name string) []events.Message {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []events.Message
	for seq := s.CachedInfo().State.FirstSeq; seq > 0 && seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(r.t.Context(), seq)
		if err != nil {
			continue // deleted
		}
		for _, added := range []string{"Nats-Sequence", "Nats-Stream", "Nats-Subject", "Nats-Time-Stamp"} {
			m.Header.Del(added) // by a direct get
		}
		all = append(all, events.Message{Subject: m.Subject, Header: m.Header, Data: m.Data, Stream: name, Sequence: m.Sequence, Time: m.Time})
	}
	return all
}

// everything is the state of all streams, buckets included.
func (r *rig) everything() map[string]jetstream.StreamState {
	r.t.Helper()
	all := map[string]jetstream.StreamState{}
	infos := r.js.ListStreams(r.t.Context())
	for info := range infos.Info() {
		state := info.State
		state.Consumers = 0 // those of readers come and go
		all[info.Config.Name] = state
	}
	if infos.Err() != nil {
		r.t.Fatal(infos.Err())
	}
	return all
}

// record stores what is known of a connection.
func (r *rig) record(rec connection.Record) {
	r.t.Helper()
	if _, err := r.store.Create(r.t.Context(), rec); err != nil {
		r.t.Fatal(err)
	}
}

// id is the n-th connection of a test.
func id(n int) string { return events.UUIDv5("test", fmt.Sprint(n)) }

// established is the record of a connection that can be fetched.
func established(t *testing.T, connectionID, user string) connection.Record {
	t.Helper()
	now := time.Now().UTC()
	rec := connection.New(connectionID, user, now.Add(-time.Hour))
	for _, to := range []connection.State{connection.LinkCreated, connection.CallbackReceived, connection.Established} {
		var err error
		if rec, err = rec.Move(to, now.Add(-time.Hour), "test"); err != nil {
			t.Fatal(err)
		}
	}
	return rec
}

// part is a transactions.fetched with bytes that no encoder would leave alone.
func part(connectionID, user string, n int, replayID string) events.Output {
	return events.NewTransactionsFetched(events.Cause{ID: fmt.Sprint("cause-", n), ReplayID: replayID, TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, events.TransactionsFetched{
		ConnectionID: connectionID, UserID: user, FetchID: events.UUIDv5("fetch", fmt.Sprint(n)), Trigger: events.TriggerSchedule,
		AccountID: "A1", Account: []byte(`{ "account_id":"A1","n":1.50E+3,"a":1,"a":2 }`),
		Transactions: []byte(`{"amount":-0.10,"purpose":"caf\u00e9 \/ <b>"} , {"amount":1e2}`),
	})
}

func failed(connectionID, user string, n int) events.Output {
	return events.NewFetchFailed(events.Cause{ID: fmt.Sprint("cause-", n)}, events.FetchFailed{
		ConnectionID: connectionID, UserID: user, FetchID: events.UUIDv5("fetch", fmt.Sprint(n)), Trigger: events.TriggerSchedule, Reason: "test",
	})
}

// target makes a stream that takes what is replayed with --to.
func (r *rig) target(subject string, change ...func(*jetstream.StreamConfig)) (name string) {
	r.t.Helper()
	r.targets++ // another name each: a broker may bring back what a stream of the same name held
	cfg := jetstream.StreamConfig{Name: fmt.Sprint("TARGET", r.targets), Subjects: []string{subject}}
	for _, c := range change {
		c(&cfg)
	}
	if _, err := r.js.CreateStream(r.t.Context(), cfg); err != nil {
		r.t.Fatal(err)
	}
	return cfg.Name
}

// audits returns the records of replays, decoded.
func (r *rig) audits() []map[string]any {
	r.t.Helper()
	var all []map[string]any
	for _, m := range r.stream(events.StreamEvents) {
		if m.Subject != r.cfg.Codec.Subject(events.TypeReplayCompleted) {
			continue
		}
		o, err := events.ParseOutput(m)
		if err != nil {
			r.t.Fatal(err)
		}
		var data map[string]any
		if err := json.Unmarshal(o.Data, &data); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, data)
	}
	return all
}

// interruptAfter runs a job until n messages were dealt with.
func (r *rig) interruptAfter(j *replay.Job, n int) (replay.Result, error) {
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	return j.Run(ctx, replay.RunOptions{Rate: 1e5, Progress: func(p replay.Progress) {
		if p.Done >= n {
			cancel()
		}
	}})
}

// doubles returns what is in a list more than once.
func doubles(list []string) []string {
	seen := map[string]int{}
	for _, s := range list {
		seen[s]++
	}
	maps.DeleteFunc(seen, func(_ string, n int) bool { return n == 1 })
	return slices.Sorted(maps.Keys(seen))
}

func callback(state, code string) map[string]any {
	return map[string]any{"state": state, "success": true, "code": code}
}

func hash(code string) string { return secret.New(code).SHA256() }
