package flow_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv/connectionkvtest"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/publisher/publishertest"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

const (
	day      = 24 * time.Hour
	lifetime = 90 * day
	lead     = 30 * day
	notice   = 7 * day
	rate     = 5.0
)

// world is the handlers, finX, timers and stores without a socket, for tests
// under testing/synctest, where months take a moment.
type world struct {
	*flow.Flow
	t       *testing.T
	sandbox *finxtest.Sandbox
	wire    *wire
	records *connectionkvtest.Memory
	secrets *vaultstoretest.Memory
	timers  *publishertest.Timers
	bus     *memoryBus
	cfg     flow.Config
	// slots are those of the lane that handles due timers.
	slots chan struct{}
	// syncs has sync requests handled; else they are only counted.
	syncs bool
	due   atomic.Int64 // timers handled
	// sealed makes the store of tokens refuse everything.
	sealed atomic.Bool
	reads  atomic.Int64 // of tokens, while sealed

	// timersOnly runs no catch-up but the first, which spares a test the walks of
	// months.
	timersOnly bool
	upkeep     sync.WaitGroup
	end        func() // of the upkeep
}

func newWorld(t *testing.T, o finxtest.Options, change ...func(*world)) *world {
	t.Helper()
	w := &world{
		t: t, records: connectionkvtest.NewMemory(), secrets: vaultstoretest.NewMemory(),
		timers: publishertest.NewTimers(), slots: make(chan struct{}, 8), end: func() {},
	}
	w.sandbox = finxtest.New(o)
	w.wire = &wire{host: w.sandbox}
	w.bus = &memoryBus{world: w}
	bank, err := finx.New(finx.Config{
		BaseURL: "http://finx.test", ClientID: "sandbox", ClientSecret: secret.New("sandbox-secret"),
		RetryBudget: -1, Transport: w.wire, AllowHTTP: true,
	})
	w.must(err)
	lock, logger := &locks{}, slog.New(slog.DiscardHandler)
	keeper, err := custody.New(custody.Config{
		Secrets: sealable{w.secrets, &w.sealed, &w.reads}, Tokens: bank, Lock: lock.take, Holder: "test", CallLimit: 5 * time.Second,
		RefreshSkew: time.Minute, Logger: logger,
	})
	w.must(err)
	w.cfg = flow.Config{
		Records: w.records, States: w.records, Links: bank, Data: bank, Tokens: keeper, Bus: w.bus, Lock: lock.take,
		CodeLifetime: time.Hour, SyncInterval: 6 * time.Hour, Overlap: 240 * time.Hour, SinceType: "booked", PageSize: 50, Logger: logger,
		Background: &flow.Background{
			Keeping: keeper, Timers: w.timers, Catalogue: w.records, Inventory: w.secrets,
			Lifetime: lifetime, Lead: lead, Notice: notice, Rate: rate, SweepRate: 100,
		},
	}
	for _, f := range change {
		f(w)
	}
	w.start()
	return w
}

// pass lets time go by, and what happens in it come to rest.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// start begins the service, as a new process would: with nothing but what is stored.
func (w *world) start() {
	w.t.Helper()
	var err error
	w.Flow, err = flow.New(w.cfg)
	w.must(err)
	w.timers.OnDue(func(_ string, e events.Envelope) { w.deliver(e) })
	if w.timersOnly {
		w.must(w.CatchUp(w.t.Context()))
		return
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	w.upkeep.Go(func() { w.walk(ctx) })
	w.end = func() { cancel(); w.upkeep.Wait() }
	w.t.Cleanup(cancel)
}

// walk catches up as Upkeep does. What Upkeep does every minute has nothing to do
// in months that have half a million of them.
func (w *world) walk(ctx context.Context) {
	for ctx.Err() == nil {
		pause := 6 * time.Hour
		if w.CatchUp(ctx) != nil {
			pause = time.Minute
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// stop ends the service: what comes due waits in its stream, and the broker will
// hand it over in an order that has nothing to do with its times.
func (w *world) stop() (restart func()) {
	w.end()
	var mu sync.Mutex
	var waiting []events.Envelope
	w.timers.OnDue(func(_ string, e events.Envelope) {
		mu.Lock()
		defer mu.Unlock()
		waiting = append(waiting, e)
	})
	return func() {
		w.start()
		mu.Lock()
		defer mu.Unlock()
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(waiting), func(i, j int) { waiting[i], waiting[j] = waiting[j], waiting[i] })
		for _, e := range waiting {
			go w.deliver(e)
		}
	}
}

// deliver handles a due timer as the lane does: when a slot is free, and again
// after an error.
func (w *world) deliver(e events.Envelope) {
	for attempt := 1; ; attempt++ {
		w.slots <- struct{}{}
		err := w.handle(e)
		<-w.slots
		if err == nil {
			return
		}
		if attempt == 20 {
			w.t.Errorf("a due timer would be a dead letter: %v", err)
			return
		}
		time.Sleep(5 * time.Second)
	}
}

func (w *world) handle(e events.Envelope) error {
	w.due.Add(1)
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if e.Type == events.TypeKeepAliveDue {
		in, err := events.DecodeKeepAliveDue(e)
		w.must(err)
		return w.KeepAliveDue(ctx, e, in)
	}
	in, err := events.DecodeSyncRequested(e)
	w.must(err)
	return w.TimerDue(ctx, e, in)
}

// connect takes a user all the way to an established connection.
func (w *world) connect(user string) connection.Record {
	w.t.Helper()
	e := event("connect-" + user)
	in := events.ConnectRequested{UserID: user, RedirectURI: redirectURI, State: "state-" + user}
	w.must(w.ConnectRequested(w.t.Context(), e, in))
	all := w.bus.all(events.TypeWidgetLinkCreated)
	w.must(w.CallbackReceived(w.t.Context(), event("callback-"+user), w.approve(all[len(all)-1])))
	return w.record(events.ConnectionID(e))
}

// approve plays the user at the link of an event.
func (w *world) approve(o events.Output) events.CallbackReceived {
	w.t.Helper()
	var data struct {
		Location string `json:"location"`
	}
	w.must(json.Unmarshal(o.Data, &data))
	back, err := w.sandbox.Approve(data.Location)
	w.must(err)
	return callbackOf(back)
}

func (w *world) record(id string) connection.Record {
	w.t.Helper()
	rec, _, err := w.records.Get(w.t.Context(), id)
	w.must(err)
	return rec
}
