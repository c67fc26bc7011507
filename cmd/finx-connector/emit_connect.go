package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/events"
)

func (p *program) emitConnectCommand() *cobra.Command {
	var (
		in             events.ConnectRequested
		accounts       []string
		multi, secrets bool
		period         int
	)
	e := &emitter{p: p, typ: events.TypeConnectRequested}
	c := &cobra.Command{
		Use:   "connect",
		Short: "Ask for a widget link for one user (user.connect.requested)",
		Long: `connect asks for a widget link for one user. The flags are the fields of finX's widget
link; one that is not given is not sent. The answer is an event widget.link.created.`,
		Example: `  finx-connector emit connect --user-id me --redirect-uri https://app.example/callback
  finx-connector emit connect --user-id me --redirect-uri https://app.example/callback \
    --state 9b2f --language de --account-type "Giro account" --sync-period 365 -o json`,
	}
	e.command(c, func(context.Context) (any, error) {
		for _, id := range accounts {
			in.Accounts = append(in.Accounts, events.AccountRef{ID: id})
		}
		given := c.Flags().Changed
		if given("allow-multi-selection") {
			in.AllowMultiSelection = &multi
		}
		if given("save-secrets") {
			in.SaveSecrets = &secrets
		}
		if given("sync-period") {
			in.SyncPeriod = &period
		}
		return in, nil
	})
	f := c.Flags()
	f.StringVar(&in.UserID, "user-id", "", "the user, in your own words (required)")
	f.StringVar(&in.RedirectURI, "redirect-uri", "", "`URL` the browser comes back to (required)")
	f.StringVar(&in.State, "state", "", "comes back with the callback; the connector makes one when absent")
	f.StringVar(&in.TrackingID, "tracking-id", "", "comes back in widget.link.created")
	f.StringVar(&in.Language, "language", "", "of the widget, such as de")
	f.StringVar(&in.ProviderID, "provider-id", "", "bank to begin with")
	f.StringArrayVar(&accounts, "account", nil, "`id` of an account to offer; may be given again")
	f.StringArrayVar(&in.AccountTypes, "account-type", nil, "`type` of accounts to offer; may be given again")
	f.BoolVar(&multi, "allow-multi-selection", false, "whether several accounts can be chosen")
	f.IntVar(&period, "sync-period", 0, "`days` of history")
	f.BoolVar(&secrets, "save-secrets", false, "whether finX keeps the bank's credentials")
	return c
}
