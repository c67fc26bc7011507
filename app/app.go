// Package app puts the connector together and runs it: settings in, a process
// out. The order is fixed and readable from top to bottom: logger, traces, NATS, guards,
// finX, secret store, publisher, custody, flow, lanes, serve; what is opened registers
// a named stop, and stops run last in, first out.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natsconn"
	"github.com/finx-connector/finx-connector/internal/telemetry"
	"github.com/finx-connector/finx-connector/settings"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// Secrets is where tokens are kept: Vault, or in finx-local and in tests the
// in-memory keeper that passes the same contract suite.
type Secrets interface {
	Get(ctx context.Context, connectionID string) (vaultstore.Record, vaultstore.Version, error)
	Put(ctx context.Context, connectionID string, r vaultstore.Record, cas vaultstore.Version) (vaultstore.Version, error)
	List(ctx context.Context, each func(connectionID string) error) error
	Check(ctx context.Context) error
}

// Options is what a run needs beyond its settings.
type Options struct {
	Settings settings.Settings
	Logger   *slog.Logger
	// Version is what /metrics and the connection to NATS say.
	Version string
	// Secrets replaces Vault. No setting reaches it, so a misconfigured
	// connector can never fall back to memory.
	Secrets Secrets
	// OnReady, if set, is called once with the address of the health server when
	// the lanes have been started. Whether they can take work, /readyz says.
	OnReady func(addr string)
	// Getenv returns the variables that OpenTelemetry defines; os.Getenv when nil.
	Getenv func(string) string
}

// stopEach bounds one step of the teardown, except the drain of the lanes,
// which has its own limit.
const stopEach = 10 * time.Second

// process is a connector while it is being put together.
type process struct {
	Options
	codec  events.Codec
	reg    *prometheus.Registry
	health health
	stops  stops

	nc       *nats.Conn
	lost     chan struct{} // closed when the connection to NATS is gone for good
	js       jetstream.JetStream
	secrets  Secrets
	bank     *finx.Client
	keeper   *custody.Keeper
	steps    *flow.Flow
	consumer *consumer.Consumer

	holder    string // this process, for people who look into leases, journals and breakers
	control   *connectionkv.Control
	guards    guards
	kvMetrics *connectionkv.Metrics
	tracer    *telemetry.Tracer // nil while tracing is off

	custodyMetrics *custody.Metrics
}

// Run works until ctx ends, then drains: intake stops at once, running work
// gets DRAIN_TIMEOUT, tokens that no store has yet are waited for. It returns
// nil after a drain, and an error when the process could not be put together.
func Run(ctx context.Context, o Options) error {
	p := &process{Options: o, holder: holder(), lost: make(chan struct{}), reg: prometheus.NewRegistry(), codec: Codec(o.Settings)}
	p.stops.logger = o.Logger
	p.health.reg = p.reg
	p.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(o.Version))
	// Everything but the intake outlives ctx: a drain needs its connections.
	work := context.WithoutCancel(ctx)
	defer p.stops.run(work, stopEach)
	for _, w := range o.Settings.Warnings {
		o.Logger.WarnContext(ctx, "setting", "warning", w)
	}
	for _, step := range []struct {
		name string
		fn   func(ctx context.Context) error
	}{
		{"traces", p.openTraces},
		{"NATS", p.connect},
		{"guards and finX", p.openGuards},
		{"secret store", p.openSecrets},
		{"guards", p.runGuards},
		{"handlers", p.joinHandlers},
		{"health server", p.listen},
	} {
		if err := step.fn(work); err != nil {
			return fmt.Errorf("app: starting, %s: %w", step.name, err)
		}
	}
	return p.serve(ctx)
}

// serve runs the lanes until ctx ends and the drain is over.
func (p *process) serve(ctx context.Context) error {
	p.Logger.InfoContext(ctx, "connector started", "version", p.Version)
	intake, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- p.consumer.Run(intake) }()
	upkeep := p.startUpkeep(intake)
	var gone error
	select {
	case err := <-ended:
		stop()
		<-upkeep
		return fmt.Errorf("app: the lanes ended: %w", err)
	case <-p.lost:
		// The broker ended the connection in a way that no reconnect mends (a
		// protocol violation). A process that cannot work must not look alive.
		gone = errors.New("the connection to NATS was closed for good; see the log for the broker's reason")
	case <-ctx.Done():
	}
	p.health.drain()
	stop()
	patience := time.Now().Add(p.Settings.Process.DrainTimeout)
	p.Logger.InfoContext(ctx, "draining", "limit", p.Settings.Process.DrainTimeout.String())
	err := errors.Join(gone, <-ended)
	<-upkeep
	err = errors.Join(err, p.waitForTokens(context.WithoutCancel(ctx), patience))
	if err != nil && (gone != nil || !errors.Is(err, context.Canceled)) {
		return fmt.Errorf("app: draining: %w", err)
	}
	p.Logger.InfoContext(ctx, "drained")
	return nil
}

// startUpkeep does what no event asks for until ctx ends. The channel is closed
// when that is over.
func (p *process) startUpkeep(ctx context.Context) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		// That there is no key is logged where it is found out.
		if err := p.keeper.PrepareEscrow(ctx); err != nil && fault.Of(err) != fault.GiveUp {
			p.Logger.WarnContext(ctx, "answers cannot be sealed for escrow", "error", err)
		}
		p.steps.Upkeep(ctx)
	}()
	return over
}

// waitForTokens waits until every token is stored. What is in escrow too is
// waited for until patience is over; what is nowhere else has no
// limit, and whoever ends the process by force decides to lose it.
func (p *process) waitForTokens(ctx context.Context, patience time.Time) error {
	p.keeper.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, min(stopEach, max(time.Until(patience), time.Second)))
		err := p.keeper.Wait(try)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		u, exposed := p.keeper.Unstored(), p.keeper.Exposed()
		if exposed == 0 && time.Now().After(patience) {
			p.Logger.WarnContext(ctx, "drain leaves tokens in escrow; the next process brings them home", "connections", u.Answers, "since", u.Oldest.String())
			return nil
		}
		p.Logger.ErrorContext(ctx, "drain waits for tokens that Vault has not taken", "connections", u.Answers, "exposed", exposed, "since", u.Oldest.String(), "error", err)
	}
}

// connect opens the one connection to NATS. A broker that is down is an outage
// and not an error: the process waits for it and says so in readiness.
func (p *process) connect(_ context.Context) error {
	tracker := &natsconn.Tracker{}
	cfg := NATSConfig(p.Settings)
	var gone sync.Once
	cfg.OnState = func(s natsconn.State) {
		tracker.Observe(s)
		if s.Status == natsconn.Closed {
			gone.Do(func() { close(p.lost) })
		}
	}
	cfg.Logger, cfg.Metrics = p.Logger, natsconn.NewMetrics(p.reg)
	cfg.DrainTimeout = stopEach
	nc, err := natsconn.Connect(cfg)
	if err != nil {
		return err
	}
	p.nc = nc
	p.stops.push("NATS connection", func(context.Context) error { nc.Close(); return nil })
	p.health.checks = append(p.health.checks, check{"nats", func(context.Context) error { return tracker.State().Err() }})
	p.js, err = jetstream.New(nc)
	return err
}

func (p *process) openSecrets(ctx context.Context) error {
	p.secrets = p.Secrets
	if p.secrets == nil {
		cfg := VaultConfig(p.Settings)
		cfg.Logger, cfg.Metrics, cfg.Observe = p.Logger, vaultstore.NewMetrics(p.reg), p.guards.vault.Observe
		store, err := vaultstore.New(cfg)
		if err != nil {
			return err
		}
		p.keepLogin(ctx, store)
		p.secrets = store
	}
	p.health.checks = append(p.health.checks, check{"vault", p.secrets.Check})
	return nil
}

// keepLogin runs the store's session, which renews its token and logs in again.
func (p *process) keepLogin(ctx context.Context, store *vaultstore.Store) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- store.Run(ctx) }()
	p.stops.push("Vault session", func(context.Context) error {
		cancel()
		err := <-ended
		store.Close()
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	})
}

func (p *process) listen(ctx context.Context) error {
	addr, stop, err := p.health.listen(ctx, p.Settings.Process.ListenAddr)
	if err != nil {
		return err
	}
	p.stops.push("health server", stop)
	p.reg.MustRegister(newReadyCollector(&p.health))
	p.runBeside(ctx, "readiness", p.health.watch)
	if p.OnReady != nil {
		p.OnReady(addr)
	}
	return nil
}

func buildInfo(version string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "finx_connector_build_info", Help: "Always 1; the label says which version runs.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	g.Set(1)
	return g
}
