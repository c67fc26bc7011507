package app

import (
	"context"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// The servers that have a guard, as they are called in metrics, keys and texts.
const (
	serverFinX  = "finx"
	serverVault = "vault"
	serverNATS  = "nats"
)

// guards decide whether, when and how many at once calls go to each server. What
// is known of finX and of Vault is shared by the replicas. Whether events can be
// stored is not: a broker that does not store them does not store that either.
type guards struct{ finx, vault, nats *guard.Guard }

// openGuards makes the guards before the parts they stand before, and finX's client,
// which is both behind its guard and what that asks with.
func (p *process) openGuards(ctx context.Context) error {
	p.kvMetrics = connectionkv.NewMetrics(p.reg)
	var err error
	p.control, err = connectionkv.NewControl(connectionkv.ControlConfig{JS: p.js, Holder: p.holder, Version: p.Version, Logger: p.Logger, Metrics: p.kvMetrics})
	if err != nil {
		return err
	}
	s, metrics := p.Settings, guard.NewMetrics(p.reg, serverFinX, serverVault, serverNATS)
	of := func(server string) guard.Config {
		return guard.Config{
			Name: server, Shared: p.control, Holder: p.holder, Replicas: p.control.Replicas,
			Failures: s.Handling.BreakerFailures, Max: s.Handling.BreakerWaitMax, Logger: p.Logger, Metrics: metrics,
		}
	}
	finx, vault, nats := of(serverFinX), of(serverVault), of(serverNATS)
	finx.Rate, finx.Concurrency = s.FinX.Rate, s.FinX.Concurrency
	finx.ProbeWith = func(ctx context.Context) error { return p.bank.Probe(ctx) }
	vault.ProbeWith = func(ctx context.Context) error { return p.secrets.Check(ctx) }
	// An event that could not be stored was tried for as long as PUBLISH_TIMEOUT.
	nats.Shared, nats.Replicas, nats.Failures = nil, nil, 1
	for _, one := range []struct {
		cfg guard.Config
		to  **guard.Guard
	}{{finx, &p.guards.finx}, {vault, &p.guards.vault}, {nats, &p.guards.nats}} {
		if *one.to, err = guard.New(one.cfg); err != nil {
			return err
		}
	}
	if err := p.openBank(); err != nil {
		return err
	}
	p.runBeside(ctx, "presence", p.control.Announce)
	p.health.checks = append(p.health.checks,
		check{serverFinX, func(context.Context) error { return standing(serverFinX, p.guards.finx) }},
		check{"control", p.control.Check},
	)
	return nil
}

// runGuards sets the guards to work when there is all that they ask with: what the
// replicas share may say at once that a server is to be asked.
func (p *process) runGuards(ctx context.Context) error {
	for server, g := range p.guards.all() {
		p.runBeside(ctx, "guard of "+server, g.Run)
	}
	return nil
}

func (g guards) all() map[string]*guard.Guard {
	return map[string]*guard.Guard{serverFinX: g.finx, serverVault: g.vault, serverNATS: g.nats}
}

// runBeside runs fn until the process is torn down.
func (p *process) runBeside(ctx context.Context, name string, fn func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(ctx)
	}()
	p.stops.push(name, func(stop context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-stop.Done():
			return stop.Err()
		}
	})
}

// standing says that a server is left alone, why, and until when.
func standing(server string, g *guard.Guard) error {
	s := g.Status()
	if !s.Open {
		return nil
	}
	since := s.Since.UTC().Format(time.RFC3339)
	if s.Probing || !time.Now().Before(s.Until) {
		return fmt.Errorf("%s is left alone since %s and is being asked again: %s", server, since, s.Why)
	}
	return fmt.Errorf("%s is left alone since %s, until %s: %s", server, since, s.Until.UTC().Format(time.RFC3339), s.Why)
}

// gate is what a lane asks before it takes anything: the guards of everything
// its handlers need.
type gate struct {
	priority guard.Priority // of the lane's calls: who probes first
	guards   []named
}

type named struct {
	server string
	guard  *guard.Guard
}

func (g guards) gate(p guard.Priority, servers ...string) gate {
	out, all := gate{priority: p}, g.all()
	for _, s := range servers {
		out.guards = append(out.guards, named{s, all[s]})
	}
	return out
}

// Wait is of consumer.Gate. While one guard was waited for another may have shut,
// so all are asked again until a round goes through without waiting.
func (g gate) Wait(ctx context.Context, n int) int {
	for {
		least, waited, tries := n, false, false
		for _, one := range g.guards {
			shut := one.guard.Status().Open
			if least = min(least, one.guard.Wait(ctx, g.priority, least)); least == 0 {
				return 0
			}
			now := one.guard.Status()
			waited = waited || shut && !now.Open
			// One delivery is let through to find out. Asked once more, it would have to
			// wait for the next occasion.
			tries = tries || now.Open || now.Probation
		}
		if !waited || tries {
			return least
		}
	}
}

// Closed is of consumer.Gate.
func (g gate) Closed() string {
	for _, one := range g.guards {
		if err := standing(one.server, one.guard); err != nil {
			return err.Error()
		}
	}
	return ""
}
