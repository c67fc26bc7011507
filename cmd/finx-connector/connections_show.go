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
	ConsentedAt       time.Time                         `json:"consented_at,omitzero"`
	RefreshObtainedAt time.Time                         `json:"refresh_obtained_at,omitzero"`
	Fetch             *connection.OpenFetch             `json:"fetch,omitempty"`
	Accounts          map[string]connection.AccountMark `json:"accounts,omitempty"`
	History           []connection.Step                 `json:"history"`
	Timers            []timerView                       `json:"timers"`
}

func (l lifetimes) detailsOf(r connection.Record) connectionDetails {
	return connectionDetails{
		connectionView: l.viewOf(r), ConsentedAt: r.ConsentedAt,
		RedirectURI: r.RedirectURI, TrackingID: r.TrackingID, FlowID: r.FlowID, CauseID: r.CauseID,
		Scope: r.Scope, EstablishedAt: r.EstablishedAt, RefreshObtainedAt: r.RefreshObtainedAt,
		Fetch: r.Fetch, Accounts: r.Accounts, History: slices.Concat([]connection.Step{}, r.History), Timers: []timerView{},
	}
}

func (p *program) connectionsShowCommand() *cobra.Command {
	var out format
	c := p.withBroker(&cobra.Command{
		Use:   "show ID",
		Short: "Show one connection with its ends, timers, accounts and history",
		Example: `  finx-connector connections show 3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1
  finx-connector connections show 3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1 -o json`,
		Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, b *broker, args []string) error {
		r, err := b.record(ctx, args[0])
		if err != nil {
			return err
		}
		d := b.lifetimes().detailsOf(r)
		if d.Timers, err = b.timers(ctx, r.ID); err != nil {
			fmt.Fprintf(p.stderr, "finx-connector: its timers are not known: %v\n", err)
		}
		if out.json() {
			return writeJSON(p.stdout, d)
		}
		return d.print(p.stdout, time.Now())
	})
	out.flag(c)
	return c
}

// print writes the facts, then accounts and history as tables where there are any.
func (d connectionDetails) print(w io.Writer, now time.Time) error {
	facts := newTable(w, "CONNECTION", d.ID)
	for _, f := range []struct{ name, value string }{
		{"user", d.UserID},
		{"state", string(d.State)},
		{"since", at(now, d.Since)},
		{"created", shown(d.CreatedAt)},
		{"established", shown(d.EstablishedAt)},
		{"refresh token of", shown(d.RefreshObtainedAt)},
		{"refresh token ends", d.Token.text(now)},
		{"bank consent of", shown(d.Consent.given())},
		{"bank consent ends", d.Consent.text(now)},
		{"scope", d.Scope},
		{"redirect_uri", d.RedirectURI},
		{"tracking_id", d.TrackingID},
		{"flow_id", d.FlowID},
		{"caused by event", d.CauseID},
		{"fetch under way", openFetchText(now, d.Fetch)},
		{"last fetch", fetchText(d.LastFetch)},
		{"next fetch", at(now, d.NextFetch)},
		{"last error", d.problemText()},
		{"last error was", at(now, d.failed())},
	} {
		if f.value != "" {
			facts.row(f.name, f.value)
		}
	}
	if err := facts.flush(); err != nil {
		return err
	}
	if len(d.Timers) > 0 {
		fmt.Fprintln(w)
		t := newTable(w, "TIMER", "FIRES", "IN")
		for _, timer := range d.Timers {
			t.row(timer.For, shown(timer.At), ahead(now, timer.At))
		}
		if err := t.flush(); err != nil {
			return err
		}
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

func openFetchText(now time.Time, f *connection.OpenFetch) string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("%s (%s) since %s", f.ID, f.Trigger, at(now, f.StartedAt))
}

// at is a time and how far off it is.
func at(now, t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case t.After(now):
		return shown(t) + ", in " + short(t.Sub(now))
	}
	return shown(t) + ", " + age(now, t) + " ago"
}

func (e *end) given() time.Time {
	if e == nil {
		return time.Time{}
	}
	return e.From
}

func (e *end) text(now time.Time) string {
	if e == nil {
		return ""
	}
	text := at(now, e.EndsAt)
	if e.Estimate {
		text += " (an estimate: CONSENT_LIFETIME after it was given)"
	}
	return text
}

func fetchText(f *connection.FetchSummary) string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("%s (%s) at %s: %s of %s in %s", f.ID, f.Trigger, shown(f.FinishedAt),
		counted(f.Transactions, "transaction"), counted(f.Accounts, "account"), f.FinishedAt.Sub(f.StartedAt).Round(time.Millisecond))
}
