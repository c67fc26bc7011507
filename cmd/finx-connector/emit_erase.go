package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/events"
)

func (p *program) emitEraseCommand() *cobra.Command {
	var in events.ErasureRequested
	e := &emitter{p: p, typ: events.TypeErasureRequested}
	c := e.command(&cobra.Command{
		Use:   "erase",
		Short: "Ask to erase a connection or a user (user.erasure.requested)",
		Long: `erase asks to erase one connection, or all of one user. This release does not handle the
request yet: it waits in its stream, and the release that does handles it then.`,
		Example: `  finx-connector emit erase --user-id me
  finx-connector emit erase --connection-id 3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1`,
	}, func(context.Context) (any, error) { return in, nil })
	c.Flags().StringVar(&in.UserID, "user-id", "", "the user, as in the connect request")
	c.Flags().StringVar(&in.ConnectionID, "connection-id", "", "`id` of the connection")
	return c
}
