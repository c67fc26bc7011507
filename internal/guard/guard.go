package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// Config is what a Guard is made of.
type Config struct {
	// Name is the server's: in the key of the shared state ("breaker." and it), in
	// metrics, and the fault.Dependency of refusals.
	Name string
	// Shared keeps the state for all replicas; nil: this process is alone. Holder
	// is this process's name there.
	Shared Store
	Holder string
	// Failures is how many Away answers in a row open it, 5 when zero.
	Failures int
	// First is how long nobody asks after it opened first, 1 s when zero; doubled up
	// to Max, 1 min when zero, each time a probe fails. Both are spread by up to
	// half.
	First, Max time.Duration
	// Probe is how long a probe may take before another one is made, 1 min when
	// zero.
	Probe time.Duration
	// ProbeWith asks the server whether it works, so that no call has to find out;
	// nil: the next call does. Where it does, the server is on probation: until a call
	// has gone well they go one at a time, those that spend nothing first, and the
	// first that does not opens it again, for longer. An error with the verdict WaitUntil says until when
	// everybody is to stay away. It is ended after Probe, and needs Run.
	ProbeWith func(context.Context) error
	// Concurrency is how many calls of this process are under way at most; 0: any
	// number. After trouble it is less for a while.
	Concurrency int
	// Rate is how many calls a second all replicas make together; 0: any number.
	Rate float64
	// Replicas is how many processes share Rate; nil: one. It is called often and
	// with a lock held.
	Replicas func() int
	// Logger hears of openings, closings and a store that is away; nil: nobody does.
	Logger *slog.Logger
	// Metrics may be nil.
	Metrics *Metrics
}

// Guard stands before one server. A nil *Guard holds nothing back. It is safe for
// concurrent use.
type Guard struct {
	cfg   Config
	log   *slog.Logger
	meter *meter
	share *share // nil: not shared

	mu        sync.Mutex
	b         breaker
	limit     limiter
	pace      pace
	queue     queue
	storeAway time.Time     // until then no call waits for the store
	changed   chan struct{} // closed when cur changes, and replaced
	total     int           // calls under way
	current   int           // those let through since it opened or closed last
	peak      int           // most of them
	armed     time.Time     // when a timer will serve the queue; zero: there is none
	running   bool          // somebody probes with ProbeWith
	granted   [Page + 1]grant
}

// New returns a Guard of a server that is thought to work.
func New(cfg Config) (*Guard, error) {
	switch {
	case cfg.Name == "":
		return nil, errors.New("guard: configuring: the server has no name")
	case cfg.Shared != nil && cfg.Holder == "":
		return nil, fmt.Errorf("guard: configuring %s: a shared state needs a holder", cfg.Name)
	case cfg.Failures < 0 || cfg.First < 0 || cfg.Max < 0 || cfg.Probe < 0 || cfg.Concurrency < 0 || cfg.Rate < 0:
		return nil, fmt.Errorf("guard: configuring %s: a limit is negative", cfg.Name)
	}
	cfg.Failures = or(cfg.Failures, 5)
	cfg.First, cfg.Max, cfg.Probe = or(cfg.First, time.Second), or(cfg.Max, time.Minute), or(cfg.Probe, time.Minute)
	cfg.Max = max(cfg.First, cfg.Max)
	if cfg.Replicas == nil {
		cfg.Replicas = func() int { return 1 }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Guard{
		cfg: cfg, log: cfg.Logger, meter: cfg.Metrics.of(cfg.Name),
		b: breaker{
			lim:      limits{first: cfg.First, most: cfg.Max, probe: cfg.Probe},
			failures: cfg.Failures, holder: cfg.Holder, shares: cfg.Shared != nil,
			several: func() bool { return cfg.Replicas() > 1 },
		},
		limit:   newLimiter(cfg.Concurrency),
		pace:    pace{rate: cfg.Rate, replicas: cfg.Replicas},
		changed: make(chan struct{}),
	}
	if cfg.Shared != nil {
		g.share = newShare(cfg.Shared, cfg.Name)
	}
	g.meter.limited(g.limit.shown())
	return g, nil
}

func or[T int | time.Duration](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}

// Run follows the state that the replicas share, tells them what this process
// finds, and probes with ProbeWith. It returns when ctx has ended.
func (g *Guard) Run(ctx context.Context) {
	var wg sync.WaitGroup
	if g != nil && g.share != nil {
		wg.Go(func() { g.follow(ctx) })
		wg.Go(func() { g.push(ctx) })
	}
	if g != nil && g.cfg.ProbeWith != nil {
		g.runs(true)
		wg.Go(func() { g.probe(ctx) })
		defer g.runs(false)
	}
	<-ctx.Done()
	wg.Wait()
}

func (g *Guard) runs(yes bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = yes
	g.notify()
}

// Observe takes in an answer of a server whose calls are never held back here.
func (g *Guard) Observe(a Answer) {
	if g == nil || a.Kind == Unknown {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := clock()
	g.b.answer(now, call{observed: true}, a)
	g.settle(now)
}

// Status is what a Guard does at the moment, for people.
type Status struct {
	Open    bool
	Since   time.Time // when it opened
	Until   time.Time // before that nobody asks; what comes after is a probe
	Probing bool      // somebody finds out whether the server works again
	Trips   int       // times it opened without a call that went well in between
	Why     string    // the last failure
	// Probation says that the server is asked again, because it says that it works,
	// and that no call has gone well since.
	Probation bool
}

// Status returns what g does at the moment.
func (g *Guard) Status() Status {
	if g == nil {
		return Status{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now, s := clock(), g.b.cur
	return Status{
		Open: s.isOpen(), Since: s.Since, Until: s.OpenUntil, Trips: s.Trips, Why: s.Why, Probation: s.isOnProbation(),
		Probing: s.isOpen() && (g.b.probing(now) || s.probedBy(now) != ""),
	}
}

// refusal is the error of a call that is not made. For holders of mu, while open.
func (g *Guard) refusal(now time.Time) error {
	until := g.b.dueAt(now)
	if !now.Before(g.b.cur.OpenUntil) {
		// Somebody finds out, which takes no time when the server works.
		until = earliest(until, now.Add(g.cfg.First))
	}
	if !until.After(now) {
		until = now.Add(g.cfg.First)
	}
	return fault.Throttled(fault.Dependency(g.cfg.Name), until,
		fmt.Errorf("guard: calling %s: left alone until %s: %s", g.cfg.Name, until.Format(time.RFC3339), g.b.cur.Why))
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// settle draws the consequences of whatever has changed. For holders of mu.
func (g *Guard) settle(now time.Time) {
	before, after := g.b.settle(now)
	if g.b.wish != nil {
		select {
		case g.share.kick <- struct{}{}:
		default:
		}
	}
	if before == after {
		return
	}
	g.notify()
	g.turned(now, before, after)
	if before.isOpen() != after.isOpen() {
		g.current, g.peak = 0, 0
		g.meter.opened(after.isOpen())
		g.meter.limited(g.limit.shown())
	}
	if after.isOpen() && after.Trips > before.Trips && after.By == g.b.holder {
		g.meter.tripped()
	}
	g.meter.queued(g.queue.len())
}

// turned draws the consequences of an opening, a closing, or the end of a probation.
// For holders of mu.
func (g *Guard) turned(now time.Time, before, after state) {
	switch {
	case !before.isOpen() && after.isOpen():
		if !before.isOnProbation() { // one at a time says nothing about how many it stands
			g.limit.cut(now, g.peak)
		}
		g.log.Warn("a server is left alone", "server", g.cfg.Name, "kind", after.Kind, "until", after.OpenUntil, "by", after.By, "why", after.Why)
		for w := g.queue.next(); w != nil; w = g.queue.next() {
			w.err = g.refusal(now)
			close(w.ready)
			g.meter.refused()
		}
	case before.isOpen() && !after.isOpen():
		g.limit.restart()
		g.log.Info("a server is asked again", "server", g.cfg.Name, "probation", after.isOnProbation(), "away_for", now.Sub(before.Since).Round(time.Millisecond))
	case after.isOnProbation() && !before.isOnProbation():
		g.limit.restart() // what came before was not heard of
	case before.isOnProbation() && !after.isOnProbation():
		g.serve(now) // who gave way need not any more
	}
}

// notify wakes those who wait for a change. For holders of mu.
func (g *Guard) notify() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// jitter spreads waits.
func jitter() float64 {
	return rand.Float64() //nolint:gosec // a spread of delays, not a secret
}
