package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/events"
)

func (p *program) emitSyncCommand() *cobra.Command {
	var in events.SyncRequested
	e := &emitter{p: p, typ: events.TypeSyncRequested}
	c := e.command(&cobra.Command{
		Use:   "sync",
		Short: "Ask for a fetch of one connection (transactions.sync.requested)",
		Long: `sync asks for a fetch of one connection, without looking whether there is one.
"connections sync" does look, and can wait for the end of the fetch.`,
		Example: `  finx-connector emit sync --connection-id 3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1
  finx-connector emit sync --connection-id 3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1 --since 2026-01-01 --reason audit`,
	}, func(context.Context) (any, error) { return in, nil })
	c.Flags().StringVar(&in.ConnectionID, "connection-id", "", "`id` of the connection (required)")
	syncFlags(c, &in)
	return c
}

// syncFlags are the flags that choose what is fetched.
func syncFlags(c *cobra.Command, in *events.SyncRequested) {
	c.Flags().StringVar(&in.Since, "since", "", "`day` to read from, YYYY-MM-DD (default: where the last fetch ended, with overlap)")
	c.Flags().BoolVar(&in.Full, "full", false, "read the whole history")
	c.Flags().StringVar(&in.Reason, "reason", "", "`text` kept with the request")
}
