package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
)

// asked is a fetch that was asked for and, with --wait, how it ended.
type asked struct {
	emitted
	ConnectionID string   `json:"connection_id"`
	FetchID      string   `json:"fetch_id"`
	Outcome      *outcome `json:"outcome,omitempty"`
}

// syncCommand are the flags of connections sync.
type syncCommand struct {
	p        *program
	in       events.SyncRequested
	out      format
	wait     bool
	patience time.Duration
}

func (p *program) connectionsSyncCommand() *cobra.Command {
	s := &syncCommand{p: p}
	c := p.withBroker(&cobra.Command{
		Use:   "sync ID",
		Short: "Ask for a fetch of one connection",
		Long: `sync asks for a fetch of an established connection. With --wait it follows the events until
the fetch has completed (exit 0) or failed (exit 1), or --wait-timeout is over (exit 1; the
fetch goes on).`,
		Example: `  finx-connector connections sync 3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1
  finx-connector connections sync 3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1 --since 2026-01-01 --wait`,
		Args: cobra.ExactArgs(1),
		PreRunE: func(_ *cobra.Command, args []string) error {
			s.in.ConnectionID = args[0]
			_, err := events.EncodeInput(events.TypeSyncRequested, "check", time.Now(), events.Cause{}, s.in)
			return err
		},
	}, func(ctx context.Context, b *broker, _ []string) error { return s.run(ctx, b) })
	syncFlags(c, &s.in)
	c.Flags().BoolVar(&s.wait, "wait", false, "wait until the fetch has completed or failed")
	c.Flags().DurationVar(&s.patience, "wait-timeout", time.Hour, "how long to wait with --wait")
	s.out.flag(c)
	return c
}

func (s *syncCommand) run(ctx context.Context, b *broker) error {
	r, err := b.record(ctx, s.in.ConnectionID)
	if err != nil {
		return err
	}
	if r.State != connection.Established {
		return fmt.Errorf("connection %s is %s: only an established one can be fetched", r.ID, r.State)
	}
	e := &emitter{p: s.p, typ: events.TypeSyncRequested, id: events.NewUUID()}
	var follow *follower
	if s.wait { // from before the request on, so that no end of it is missed
		if follow, err = b.follow(ctx, r.ID, e.id); err != nil {
			return err
		}
	}
	body, err := events.EncodeInput(e.typ, e.id, time.Now().UTC(), events.Cause{}, s.in)
	if err != nil {
		return err
	}
	sent, err := e.publish(ctx, b, body)
	if err != nil {
		return err
	}
	result := asked{emitted: sent, ConnectionID: r.ID, FetchID: events.FetchID(events.Envelope{ID: e.id, Source: events.Source})}
	if !s.out.json() {
		fmt.Fprintf(s.p.stdout, "fetch %s asked for (stream %s, sequence %d)\n", result.FetchID, sent.Stream, sent.Sequence)
	}
	if s.wait {
		waiting, cancel := context.WithTimeoutCause(ctx, s.patience, fmt.Errorf("no end of the fetch within %s; it goes on", s.patience))
		defer cancel()
		ended, err := follow.wait(waiting, sent)
		if err != nil {
			return err
		}
		result.Outcome = &ended
	}
	return s.print(result)
}

func (s *syncCommand) print(r asked) error {
	if s.out.json() {
		if err := writeJSON(s.p.stdout, r); err != nil {
			return err
		}
	}
	switch o := r.Outcome; {
	case o == nil:
	case !o.completed():
		return errors.New("the fetch failed: " + printable(o.text()))
	case !s.out.json():
		fmt.Fprintln(s.p.stdout, "completed:", o.text())
	}
	return nil
}
