package main

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/settings"
)

func (p *program) connectionsCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "connections",
		Short: "See what is known of each connection, or ask for a fetch",
		Long: `A connection is one pass of one user through the finX widget and all that follows from
it. What is shown here is its record in the bucket finx_connections, which holds no token.`,
		Example: `  finx-connector connections list --error --sort error
  finx-connector connections show 3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1
  finx-connector connections sync 3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1 --wait`,
	}, p.connectionsListCommand(), p.connectionsShowCommand(), p.connectionsSyncCommand())
}

// records opens the bucket of the connections.
func (b *broker) records() (*connectionkv.Store, error) {
	return connectionkv.New(connectionkv.Config{JS: b.js, Timeout: b.wait})
}

// record reads one connection.
func (b *broker) record(ctx context.Context, id string) (connection.Record, error) {
	store, err := b.records()
	if err != nil {
		return connection.Record{}, err
	}
	r, _, err := store.Get(ctx, id)
	if errors.Is(err, connection.ErrNotFound) {
		return r, errors.New("there is no connection " + printable(id))
	}
	return r, err
}

// connectionView is what may be shown of a connection: everything but what it
// was asked for with (names of the user's own accounts) and its state
// parameter, with which a callback could be forged.
type connectionView struct {
	ID        string                   `json:"id"`
	UserID    string                   `json:"user_id"`
	State     connection.State         `json:"state"`
	Since     time.Time                `json:"since,omitzero"`
	CreatedAt time.Time                `json:"created_at,omitzero"`
	LastFetch *connection.FetchSummary `json:"last_fetch,omitempty"`
	NextFetch time.Time                `json:"next_fetch_at,omitzero"`
	LastError *connection.Problem      `json:"last_error,omitempty"`
	Token     *end                     `json:"refresh_token,omitempty"`
	Consent   *end                     `json:"bank_consent,omitempty"`
}

// end is when something runs out. Only an established connection has what could.
type end struct {
	From     time.Time `json:"from"`
	EndsAt   time.Time `json:"ends_at"`
	DaysLeft int       `json:"days_left"` // whole days, negative once it is over
	Estimate bool      `json:"estimate"`  // by a rule of thumb: nobody tells us
}

// lifetimes are by what the ends are reckoned.
type lifetimes struct {
	now            time.Time
	token, consent time.Duration
}

func (b *broker) lifetimes() lifetimes { return lifetimesOf(b.settings, time.Now()) }

func lifetimesOf(s settings.Settings, now time.Time) lifetimes {
	return lifetimes{now, s.FinX.RefreshLifetime, s.FinX.ConsentLifetime}
}

func (l lifetimes) endOf(from time.Time, life time.Duration, estimate bool) *end {
	if from.IsZero() {
		return nil
	}
	at := from.Add(life)
	return &end{From: from, EndsAt: at, DaysLeft: int(math.Floor(at.Sub(l.now).Hours() / 24)), Estimate: estimate}
}

func (l lifetimes) viewOf(r connection.Record) connectionView {
	v := connectionView{
		ID: r.ID, UserID: r.UserID, State: r.State, Since: r.Since, CreatedAt: r.CreatedAt,
		LastFetch: r.LastFetch, NextFetch: r.NextFetchAt, LastError: r.LastError,
	}
	if r.State == connection.Established {
		v.Token = l.endOf(r.RefreshObtainedAt, l.token, false)
		v.Consent = l.endOf(r.Consented(), l.consent, true)
	}
	return v
}

// fetched is when the last fetch ended, the zero time if none did.
func (v connectionView) fetched() time.Time {
	if v.LastFetch == nil {
		return time.Time{}
	}
	return v.LastFetch.FinishedAt
}

// problemText is the last error in one cell.
func (v connectionView) problemText() string {
	if v.LastError == nil {
		return ""
	}
	text := v.LastError.Reason
	if v.LastError.Detail != "" {
		text += ": " + v.LastError.Detail
	}
	return text
}
