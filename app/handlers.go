package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/telemetry"
	"github.com/finx-connector/finx-connector/publisher"
	"github.com/finx-connector/finx-connector/streams"
)

// leaseTTL is how long a lock outlives the process that held it: no longer than
// the events it was at work on, because whoever gets those needs the lock. Waiting
// for a held one is cheap, so it is short.
func (p *process) leaseTTL() time.Duration {
	if ttl := p.Settings.Handling.LeaseTTL; ttl > 0 {
		return ttl
	}
	return min(max(p.Settings.Handling.AckWait, 2*time.Second), 20*time.Second)
}

// joinHandlers builds the business steps and the lanes that feed them.
func (p *process) joinHandlers(ctx context.Context) error {
	records, err := connectionkv.New(connectionkv.Config{JS: p.js, Metrics: p.kvMetrics})
	if err != nil {
		return err
	}
	p.health.checks = append(p.health.checks, check{"connections", records.Check})
	pub, err := p.publisher()
	if err != nil {
		return err
	}
	locker := &connectionkv.Locker{Leases: records, Owner: p.holder, TTL: p.leaseTTL(), Logger: p.Logger}
	if err := p.openCustody(ctx, p.bank, locker); err != nil {
		return err
	}
	redirects, err := Redirects(p.Settings)
	if err != nil {
		return err
	}
	p.steps, err = flow.New(flow.Config{
		Records: records, States: records, Links: p.bank, Data: p.bank, Tokens: p.keeper,
		Bus:  NewBus(pub, int(p.Settings.Fetch.ChunkBytes)),
		Lock: waitFor(locker, p.leaseTTL()/2), Redirects: redirects,
		CodeLifetime: p.Settings.FinX.CodeLifetime, SyncInterval: p.Settings.Fetch.Interval,
		Overlap: p.Settings.Fetch.Overlap, SinceType: p.Settings.Fetch.SinceType,
		PageSize: p.Settings.Fetch.PageSize, Logger: p.Logger, Metrics: flow.NewMetrics(p.reg),
		Background: &flow.Background{
			Keeping: p.keeper, Timers: pub, Catalogue: records, Inventory: p.secrets,
			Lifetime: p.Settings.FinX.RefreshLifetime, Lead: p.Settings.FinX.KeepAliveLead,
			Notice: p.Settings.FinX.ExpiringNotice, Rate: p.Settings.FinX.KeepAliveRate,
			SweepRate: float64(p.Settings.Process.SweepRate), Replicas: p.control.Replicas,
			OpenMarks: p.custodyMetrics.OpenMarks,
		},
	})
	if err != nil {
		return err
	}
	return p.openLanes(p.steps)
}

// openLanes is the route: which consumer feeds which step. A slow fetch never
// stands before a dying code, because each lane has workers of its own.
func (p *process) openLanes(steps *flow.Flow) error {
	s, names := p.Settings, StreamNames(p.Settings)
	lane := func(name, stream, durable string, slots int, limit time.Duration, gate gate, handle consumer.Handler) consumer.Lane {
		return consumer.Lane{
			Name: name, Stream: stream, Durable: durable, Slots: slots, Deadline: limit, Gate: gate,
			AckWait: s.Handling.AckWait, MaxAttempts: s.Handling.MaxAttempts, Handle: handle,
		}
	}
	connects := lane("connects", names.Connects, streams.DurableConnects, s.Concurrency.Connects, s.Handling.ConnectTimeout,
		p.guards.gate(guard.Link, serverFinX, serverNATS),
		consumer.On(p.codec, events.DecodeConnectRequested, steps.ConnectRequested))
	callbacks := lane("callbacks", names.Callbacks, streams.DurableCallbacks, s.Concurrency.Callbacks, s.Handling.CallbackTimeout,
		p.guards.gate(guard.Callback, serverVault, serverNATS, serverFinX),
		consumer.On(p.codec, events.DecodeCallbackReceived, steps.CallbackReceived))
	callbacks.Redact = events.RedactCallback
	callbacks.LastWords = consumer.Dying(p.codec, events.DecodeCallbackReceived, steps.CallbackGivenUp)
	syncs := lane("syncs", names.Syncs, streams.DurableSyncs, s.Concurrency.Syncs, s.Handling.SyncTimeout,
		p.guards.gate(guard.Accounts, serverVault, serverNATS, serverFinX),
		consumer.On(p.codec, events.DecodeSyncRequested, steps.SyncRequested))
	syncs.LastWords = consumer.Dying(p.codec, events.DecodeSyncRequested, steps.SyncGivenUp)
	due := lane("due", names.Timers, streams.DurableDue, s.Concurrency.Due, s.Handling.ConnectTimeout,
		p.guards.gate(guard.Token, serverVault, serverNATS, serverFinX),
		consumer.ByType(p.codec, map[string]consumer.Handler{
			events.TypeSyncRequested: consumer.On(p.codec, events.DecodeSyncRequested, steps.TimerDue),
			events.TypeKeepAliveDue:  consumer.On(p.codec, events.DecodeKeepAliveDue, steps.KeepAliveDue),
		}))
	due.Parked = true
	lanes := []consumer.Lane{connects, callbacks, syncs, due}
	var err error
	p.consumer, err = consumer.New(consumer.Config{
		JS: p.js, Lanes: lanes, Codec: p.codec, DLQStream: names.DLQ, Logger: p.Logger,
		Metrics: consumer.NewMetrics(p.reg, laneNames(lanes)...), RetryDelayMax: s.Handling.RetryDelayMax,
		OutageAfter: s.Handling.OutageAfter, DrainTimeout: s.Process.DrainTimeout,
		DeadLetterTimeout: deadLetterTimeout,
		TimersStream:      names.Timers, ParkAfter: s.Handling.ParkAfter, Suspects: p.control, Tracer: p.tracer,
	})
	if err != nil {
		return err
	}
	p.health.checks = append(p.health.checks, check{"lanes", func(context.Context) error { return blocked(p.consumer.Status()) }})
	return nil
}

// deadLetterTimeout outlasts a leader election (5 to 6 s measured) and no more:
// a dead letter that cannot be stored holds a slot for as long, and comes back.
const deadLetterTimeout = 10 * time.Second

// blocked says which lanes cannot take work, and why.
func blocked(lanes []consumer.LaneStatus) error {
	var errs []error
	for _, l := range lanes {
		if !l.Ready {
			errs = append(errs, fmt.Errorf("lane %s since %s: %s", l.Lane, l.Since.UTC().Format(time.RFC3339), l.Why))
		}
	}
	return errors.Join(errs...)
}

func laneNames(lanes []consumer.Lane) []string {
	names := make([]string, len(lanes))
	for i, l := range lanes {
		names[i] = l.Name
	}
	return names
}

func (p *process) openBank() error {
	cfg := FinXConfig(p.Settings)
	cfg.Metrics = finx.NewMetrics(p.reg)
	cfg.UserAgent = "finx-connector/" + p.Version
	cfg.Gate = p.guards.finx
	client, err := finx.New(cfg)
	if err != nil {
		return err
	}
	p.bank = client
	p.stops.push("finX connections", func(context.Context) error { client.CloseIdle(); return nil })
	return nil
}

func (p *process) publisher() (*publisher.Publisher, error) {
	names := StreamNames(p.Settings)
	return publisher.New(publisher.Config{
		JS: p.js, Codec: p.codec, PerConnection: p.Settings.Subjects.PerConnection,
		EventsStream: names.Events, RequestsStream: names.Syncs, TimersStream: names.Timers,
		Timeout: p.Settings.Handling.PublishTimeout, Observe: p.guards.nats.Observe,
		Logger: p.Logger, Metrics: publisher.NewMetrics(p.reg),
	})
}

// waitFor turns "somebody else holds it" into the verdict to come back later,
// which counts as no attempt.
func waitFor(l *connectionkv.Locker, wait time.Duration) custody.LockFunc {
	return func(ctx context.Context, name string) (context.Context, func(), error) {
		what, _, _ := strings.Cut(name, ".") // the rest is whose
		waited := telemetry.Waiting(ctx, "lock "+what)
		held, release, err := l.Lock(ctx, name)
		waited(err)
		if errors.Is(err, connection.ErrLeaseHeld) {
			err = fault.Throttled("", time.Now().Add(wait), err)
		}
		return held, release, err
	}
}

// holder names this process for people who look into leases and journals.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	// A container that starts again has the same name and the same process id.
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), rand.Text()[:6])
}
