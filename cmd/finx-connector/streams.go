package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/streams"
)

func (p *program) streamsCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "streams",
		Short: "Make or check streams, consumers and buckets",
		Example: `  finx-connector streams check
  finx-connector streams apply`,
	}, p.streamsApplyCommand(), p.streamsCheckCommand())
}

func (p *program) streamsApplyCommand() *cobra.Command {
	var out format
	c := p.withBroker(&cobra.Command{
		Use:   "apply",
		Short: "Create what is missing and raise what is too low, after showing it",
		Long: `apply shows how the broker differs from what the connector needs, then creates what is
missing and raises what is too low. It never deletes and never loosens: what would is
marked "manual", with what to do, and is left to you. Applying again does no harm.

Exit code: 0 when all is as it should be, 1 when something is left to do.
"streams check" shows the same without changing anything.`,
		Example: `  finx-connector streams apply
  NATS_URL=nats://broker:4222 NATS_CREDS=admin.creds finx-connector streams apply -o json`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, b *broker, _ []string) error {
		topology, changes, err := b.difference(ctx)
		if err != nil {
			return err
		}
		if err := writeChanges(p.stdout, out, changes); err != nil {
			return err
		}
		if err := topology.Apply(ctx, b.js, changes); err != nil {
			return err
		}
		done, left := len(streams.Pending(changes)), len(streams.Left(changes))
		if done > 0 && !out.json() {
			fmt.Fprintf(p.stdout, "applied %s\n", counted(done, "change"))
		}
		// An old broker takes what it does not know and leaves it out: a timer
		// that never fires would be the last to tell.
		if _, after, err := b.difference(ctx); err != nil {
			return err
		} else if n := len(streams.Pending(after)); n > 0 {
			return fmt.Errorf("streams: the broker took %s and does not have it: %s; is it older than NATS server 2.14?", counted(n, "change"), streams.Pending(after)[0])
		}
		if left > 0 {
			return fmt.Errorf("streams: %s left to you: see what is marked manual", counted(left, "difference"))
		}
		return nil
	})
	out.flag(c)
	return c
}

func (p *program) streamsCheckCommand() *cobra.Command {
	var out format
	c := p.withBroker(&cobra.Command{
		Use:   "check",
		Short: "Compare the broker with what is needed; exit 1 on drift",
		Example: `  finx-connector streams check
  finx-connector streams check -o json`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, b *broker, _ []string) error {
		_, changes, err := b.difference(ctx)
		if err != nil {
			return err
		}
		if err := writeChanges(p.stdout, out, changes); err != nil {
			return err
		}
		if n := len(changes); n > 0 {
			return fmt.Errorf("streams: %s; finx-connector streams apply makes all but what is marked manual", counted(n, "difference"))
		}
		return nil
	})
	out.flag(c)
	return c
}

func (b *broker) difference(ctx context.Context) (streams.Topology, []streams.Change, error) {
	topology := app.Topology(b.settings)
	changes, err := topology.Diff(ctx, b.js)
	return topology, changes, err
}

func writeChanges(w io.Writer, out format, changes []streams.Change) error {
	if out.json() {
		return streams.WriteJSON(w, changes)
	}
	return streams.WriteText(w, changes)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
