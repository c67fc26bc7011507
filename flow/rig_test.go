package flow_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv/connectionkvtest"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/publisher"
	"github.com/finx-connector/finx-connector/streams"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

const (
	userID      = "alice@example.com"
	redirectURI = "https://app.example/callback"
)

// rig is the handlers over a real broker and the sandbox. Records and secrets
// are in the memory stores that pass the contract suites of the real ones.
type rig struct {
	*flow.Flow
	t       testing.TB
	sandbox *finxtest.Sandbox
	records *connectionkvtest.Memory
	secrets *vaultstoretest.Memory
	bus     *moodyBus
	js      jetstream.JetStream
	cfg     flow.Config
	bank    *finx.Client
}

func newRig(t testing.TB, o finxtest.Options, change ...func(*flow.Config)) *rig {
	t.Helper()
	r := &rig{t: t, records: connectionkvtest.NewMemory(), secrets: vaultstoretest.NewMemory()}
	r.js = natstest.JetStream(t, natstest.Start(t).URL())
	topology := streams.Plan(streams.Config{})
	changes, err := topology.Diff(t.Context(), r.js)
	r.must(err)
	r.must(topology.Apply(t.Context(), r.js, changes))
	pub, err := publisher.New(publisher.Config{JS: r.js, Timeout: 2 * time.Second})
	r.must(err)
	r.bus = &moodyBus{Bus: app.NewBus(pub, 64<<10)}
	var base string
	r.sandbox, base = finxtest.Start(t, o)
	bank, err := finx.New(finx.Config{BaseURL: base, ClientID: "sandbox", ClientSecret: secret.New("sandbox-secret"), RetryBudget: -1})
	r.must(err)
	t.Cleanup(bank.CloseIdle)
	logger := slog.New(slog.DiscardHandler)
	lock := &locks{}
	keeper, err := custody.New(custody.Config{
		Secrets: r.secrets, Tokens: bank, Lock: lock.take, Holder: "test", CallLimit: 5 * time.Second,
		RefreshSkew: time.Minute, Logger: logger,
	})
	r.must(err)
	cfg := flow.Config{
		Records: r.records, States: r.records, Links: bank, Data: bank, Tokens: keeper, Bus: r.bus, Lock: lock.take,
		CodeLifetime: time.Hour, SyncInterval: 6 * time.Hour, Overlap: 240 * time.Hour, SinceType: "booked", PageSize: 50, Logger: logger,
	}
	cfg.Background = &flow.Background{
		Keeping: keeper, Timers: moodyTimers{pub, r.bus}, Catalogue: r.records, Inventory: r.secrets,
		Lifetime: lifetime, Lead: lead, Notice: notice, Rate: 1000, SweepRate: 10000,
	}
	for _, f := range change {
		f(&cfg)
	}
	r.cfg, r.bank = cfg, bank
	r.Flow, err = flow.New(cfg)
	r.must(err)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// event is an envelope as upstream would have sent it.
func event(id string) events.Envelope {
	return events.Envelope{ID: id, Source: "/upstream", Time: time.Now()}
}

// connect runs a connect request and returns the record it left and the link.
func (r *rig) connect(id, state string) (connection.Record, events.WidgetLinkCreated) {
	r.t.Helper()
	e := event(id)
	r.must(r.ConnectRequested(r.t.Context(), e, events.ConnectRequested{UserID: userID, RedirectURI: redirectURI, State: state}))
	all := r.published(events.TypeWidgetLinkCreated)
	if len(all) == 0 {
		r.t.Fatal("no widget.link.created")
	}
	var data struct {
		State    string `json:"state"`
		Location string `json:"location"`
	}
	r.must(json.Unmarshal(all[len(all)-1].Data, &data))
	return r.record(events.ConnectionID(e)), events.WidgetLinkCreated{State: data.State, Location: secret.New(data.Location)}
}

// approve plays the user and returns the callback.
func (r *rig) approve(link events.WidgetLinkCreated) events.CallbackReceived {
	r.t.Helper()
	back, err := r.sandbox.Approve(link.Location.Reveal())
	r.must(err)
	return events.CallbackReceived{State: link.State, Success: true, Code: secret.New(back.Query().Get("code"))}
}

// established connects a user all the way.
func (r *rig) established() connection.Record {
	r.t.Helper()
	rec, link := r.connect("connect-1", "state-1")
	r.must(r.CallbackReceived(r.t.Context(), event("callback-1"), r.approve(link)))
	return r.record(rec.ID)
}

// sync runs a sync request under an id.
func (r *rig) sync(id string, in events.SyncRequested) error {
	return r.SyncRequested(r.t.Context(), event(id), in)
}

func (r *rig) record(id string) connection.Record {
	r.t.Helper()
	rec, _, err := r.records.Get(r.t.Context(), id)
	r.must(err)
	return rec
}

// published returns the stored events of a type, in order, each id once.
func (r *rig) published(typ string) []events.Output {
	r.t.Helper()
	return r.stored(events.StreamOf(typ), func(m events.Message) (events.Output, bool) {
		o, err := events.ParseOutput(m)
		return o, err == nil && o.Type == typ
	})
}

// requested returns the subjects' sync requests that are stored.
func (r *rig) requested() []events.SyncRequested {
	r.t.Helper()
	var out []events.SyncRequested
	r.stored(events.StreamRequests, func(m events.Message) (events.Output, bool) {
		e, err := events.Codec{}.Parse(m)
		r.must(err)
		in, err := events.DecodeSyncRequested(e)
		r.must(err)
		out = append(out, in)
		return events.Output{}, false
	})
	return out
}

func (r *rig) stored(stream string, read func(events.Message) (events.Output, bool)) []events.Output {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), stream)
	r.must(err)
	info, err := s.Info(r.t.Context())
	r.must(err)
	var out []events.Output
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		msg, err := s.GetMsg(r.t.Context(), seq)
		r.must(err)
		if o, ok := read(events.Message{Subject: msg.Subject, Header: msg.Header, Data: msg.Data, Stream: stream, Sequence: seq, Time: msg.Time}); ok {
			out = append(out, o)
		}
	}
	return out
}

var errBus = errors.New("the broker is away")

// moodyBus fails where it is told to, as if the process had died there.
type moodyBus struct {
	flow.Bus
	mu   sync.Mutex
	fail string // the call that fails: a type, "sync", "schedule" or "keepalive"
	said map[string]int
}

func (b *moodyBus) failOn(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = what
}

// times returns how often an event of a type was given to the broker, which
// stores one of an id only.
func (b *moodyBus) times(typ string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.said[typ]
}

func (b *moodyBus) mood(what string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail == what {
		return fault.Transient(fault.NATS, errBus)
	}
	return nil
}

func (b *moodyBus) Publish(ctx context.Context, o events.Output) error {
	if err := b.mood(o.Type); err != nil {
		return err
	}
	b.mu.Lock()
	if b.said == nil {
		b.said = map[string]int{}
	}
	b.said[o.Type]++
	b.mu.Unlock()
	return b.Bus.Publish(ctx, o)
}

func (b *moodyBus) RequestSync(ctx context.Context, id string, t time.Time, c events.Cause, in events.SyncRequested) error {
	if err := b.mood("sync"); err != nil {
		return err
	}
	return b.Bus.RequestSync(ctx, id, t, c, in)
}

func (b *moodyBus) ScheduleSync(ctx context.Context, id string, at time.Time, in events.SyncRequested) error {
	if err := b.mood("schedule"); err != nil {
		return err
	}
	return b.Bus.ScheduleSync(ctx, id, at, in)
}

// moodyTimers fails as its bus does, on "keepalive".
type moodyTimers struct {
	flow.Timers
	bus *moodyBus
}

func (m moodyTimers) ScheduleKeepAlive(ctx context.Context, id string, at time.Time) error {
	if err := m.bus.mood("keepalive"); err != nil {
		return err
	}
	return m.Timers.ScheduleKeepAlive(ctx, id, at)
}

// locks keeps names apart inside this process.
type locks struct{ held sync.Map }

func (l *locks) take(ctx context.Context, name string) (context.Context, func(), error) {
	if _, taken := l.held.LoadOrStore(name, true); taken {
		return nil, nil, fault.Throttled("", time.Now().Add(time.Second), connection.ErrLeaseHeld)
	}
	return ctx, func() { l.held.Delete(name) }, nil
}
