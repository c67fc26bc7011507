package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/connection"
)

// connectionDetails is everything that may be shown of one connection.
type connectionDetails struct {
	connectionView
	RedirectURI       string                            `json:"redirect_uri,omitempty"`
	TrackingID        string                            `json:"tracking_id,omitempty"`
	FlowID            string                            `json:"flow_id,omitempty"`
	CauseID           string                            `json:"cause_id,omitempty"`
	Scope             string                            `json:"scope,omitempty"`
	EstablishedAt     time.Time                         `json:"established_at,omitzero"`
	RefreshObtainedAt time.Time                         `json:"refresh_obtained_at,omitzero"`
	Fetch             *connection.OpenFetch             `json:"fetch,omitempty"`
	Accounts          map[string]connection.AccountMark `json:"accounts,omitempty"`
	History           []connection.Step                 `json:"history"`
}

func detailsOf(r connection.Record) connectionDetails {
	return connectionDetails{
		connectionView: viewOf(r),
		RedirectURI:    r.RedirectURI, TrackingID: r.TrackingID, FlowID: r.FlowID, CauseID: r.CauseID,
		Scope: r.Scope, EstablishedAt: r.EstablishedAt, RefreshObtainedAt: r.RefreshObtainedAt,
		Fetch: r.Fetch, Accounts: r.Accounts, History: slices.Concat([]connection.Step{}, r.History),
	}
}

func (p *program) connectionsShowCommand() *cobra.Command {
	var out format
	c := p.withBroker(&cobra.Command{
		Use:   "show ID",
		Short: "Show one connection with its accounts and history",
		Example: `  finx-connector connections show 3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1
  finx-connector connections show 3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1 -o json`,
		Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, b *broker, args []string) error {
		r, err := b.record(ctx, args[0])
		if err != nil {
			return err
		}
		d := detailsOf(r)
		if out.json() {
			return writeJSON(p.stdout, d)
		}
		return d.print(p.stdout)
	})
	out.flag(c)
	return c
}

// print writes the facts, then accounts and history as tables where there are any.
func (d connectionDetails) print(w io.Writer) error {
	facts := newTable(w, "CONNECTION", d.ID)
	for _, f := range []struct{ name, value string }{
		{"user", d.UserID},
		{"state", string(d.State)},
		{"since", shown(d.Since)},
		{"created", shown(d.CreatedAt)},
		{"established", shown(d.EstablishedAt)},
		{"refresh token of", shown(d.RefreshObtainedAt)},
		{"scope", d.Scope},
		{"redirect_uri", d.RedirectURI},
		{"tracking_id", d.TrackingID},
		{"flow_id", d.FlowID},
		{"caused by event", d.CauseID},
		{"fetch under way", openFetchText(d.Fetch)},
		{"last fetch", fetchText(d.LastFetch)},
		{"next fetch", shown(d.NextFetch)},
		{"last error", d.problemText()},
	} {
		if f.value != "" {
			facts.row(f.name, f.value)
		}
	}
	if err := facts.flush(); err != nil {
		return err
	}
	if len(d.Accounts) > 0 {
		fmt.Fprintln(w)
		t := newTable(w, "ACCOUNT", "READ UNTIL", "BANK SYNCED", "BANK SUCCEEDED")
		for _, id := range slices.Sorted(maps.Keys(d.Accounts)) {
			t.row(id, d.Accounts[id].Until, d.Accounts[id].SyncedAt, d.Accounts[id].SucceededAt)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if len(d.History) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := newTable(w, "AT", "FROM", "TO", "REASON")
	for _, s := range d.History {
		t.row(shown(s.At), string(s.From), string(s.To), s.Reason)
	}
	return t.flush()
}

func openFetchText(f *connection.OpenFetch) string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("%s (%s) since %s", f.ID, f.Trigger, shown(f.StartedAt))
}

func fetchText(f *connection.FetchSummary) string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("%s (%s) at %s: %s of %s in %s", f.ID, f.Trigger, shown(f.FinishedAt),
		counted(f.Transactions, "transaction"), counted(f.Accounts, "account"), f.FinishedAt.Sub(f.StartedAt).Round(time.Millisecond))
}
