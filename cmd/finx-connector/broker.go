package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/internal/natsconn"
	"github.com/finx-connector/finx-connector/settings"
)

// defaultTimeout is how long a command waits for the broker, at the start and
// for each answer.
const defaultTimeout = 10 * time.Second

// broker is the command's connection to NATS.
type broker struct {
	settings settings.Settings
	wait     time.Duration // for one answer
	js       jetstream.JetStream
	nc       *nats.Conn
	tracker  *natsconn.Tracker
}

// withBroker gives c the flag --timeout and a connection to NATS for as long as
// its work takes.
func (p *program) withBroker(c *cobra.Command, work func(ctx context.Context, b *broker, args []string) error) *cobra.Command {
	connected := p.brokerFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return connected(c.Context(), func(b *broker) error { return work(c.Context(), b, args) })
	}
	return c
}

// brokerFlag gives c the flag --timeout and returns what does work while
// connected to NATS.
func (p *program) brokerFlag(c *cobra.Command) (connected func(ctx context.Context, work func(*broker) error) error) {
	wait := c.Flags().Duration("timeout", defaultTimeout, "how long to wait for the broker, and for each of its answers")
	return func(ctx context.Context, work func(*broker) error) error {
		if *wait <= 0 {
			return usagef("--timeout must be above 0")
		}
		s, err := p.loadSettings(settings.Need{})
		if err != nil {
			return err
		}
		for _, w := range s.Warnings {
			fmt.Fprintf(p.stderr, "finx-connector: warning: %s\n", w)
		}
		b, err := dial(ctx, s, *wait)
		if err != nil {
			return err
		}
		defer b.nc.Close()
		return b.explain(work(b))
	}
}

// dial connects and waits until the broker answers.
func dial(ctx context.Context, s settings.Settings, wait time.Duration) (*broker, error) {
	b := &broker{settings: s, wait: wait, tracker: &natsconn.Tracker{}}
	up := make(chan struct{})
	arrived := sync.OnceFunc(func() { close(up) })
	cfg := app.NATSConfig(s)
	cfg.Name, cfg.Logger = "finx-connector-cli", slog.New(slog.DiscardHandler)
	cfg.OnState = func(state natsconn.State) {
		b.tracker.Observe(state)
		if state.Status == natsconn.Connected {
			arrived()
		}
	}
	nc, err := natsconn.Connect(cfg)
	if err != nil {
		return nil, usageError{err}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-up:
	case <-timer.C:
		err = fmt.Errorf("connecting to NATS at %s: no connection within %s", s.NATS.ShownURL(), wait)
		if problem := b.tracker.State().Problem; problem != "" {
			err = fmt.Errorf("%w: %s", err, problem)
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		b.nc = nc
		b.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(wait))
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return b, nil
}

// explain adds what the broker said out of band: a missing permission looks
// like a broker that does not answer.
func (b *broker) explain(err error) error {
	if err == nil {
		return nil
	}
	problem := b.tracker.State().Problem
	timedOut := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
	if problem != "" && timedOut {
		return fmt.Errorf("%w (the broker said: %s)", err, problem)
	}
	return err
}
