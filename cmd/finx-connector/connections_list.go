package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
)

func (p *program) connectionsListCommand() *cobra.Command {
	var (
		out    format
		filter connectionFilter
		wide   bool
	)
	c := p.withBroker(&cobra.Command{
		Use:   "list",
		Short: "List connections, the one that changed last first",
		Long: `list shows the state of each connection and how long it has been in it, how long ago it was
fetched (with accounts and transactions), when it will be again, and what is left of its refresh
token and of the bank's consent. The consent is an estimate (~): nobody tells us when it
ends; CONSENT_LIFETIME is counted from when the user last came back from the bank.
Texts are cut to fit 160 columns; --wide and -o json do not cut.`,
		Example: `  finx-connector connections list
  finx-connector connections list --user me
  finx-connector connections list --error --sort error
  finx-connector connections list --stale 24h --sort fetched
  finx-connector connections list --expiring 14d --sort consent
  finx-connector connections list --state established --limit 0 -o json`,
		Args:    cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error { return filter.check() },
	}, func(ctx context.Context, b *broker, _ []string) error {
		top, err := b.connections(ctx, filter)
		unreadable, partly := errors.AsType[*connectionkv.UnreadableError](err)
		if err != nil && !partly {
			return err
		}
		if err := p.printConnections(out, top, wide); err != nil {
			return err
		}
		if len(top.views) < top.total {
			fmt.Fprintf(p.stderr, "finx-connector: %d of %d shown; --limit 0 shows all\n", len(top.views), top.total)
		}
		if partly {
			return unreadable
		}
		return nil
	})
	filter.flags(c)
	c.Flags().BoolVar(&wide, "wide", false, "do not cut texts")
	out.flag(c)
	return c
}

// connections returns the first of a filter in its order, and counts all. With an
// *UnreadableError they are all but the ones it names.
func (b *broker) connections(ctx context.Context, f connectionFilter) (*topConnections, error) {
	store, err := b.records()
	if err != nil {
		return nil, err
	}
	top, by := newTop(f.limit, orders()[f.sort]), b.lifetimes()
	err = store.List(ctx, func(r connection.Record) error {
		v := by.viewOf(r)
		top.add(v, f.takes(v, by.now))
		return nil
	})
	top.sort()
	return top, err
}

func (p *program) printConnections(out format, top *topConnections, wide bool) error {
	if out.json() {
		if top.views == nil {
			top.views = []connectionView{}
		}
		return writeJSON(p.stdout, top.views)
	}
	rows := make([][]string, 0, len(top.views)+1)
	rows = append(rows, []string{"CONNECTION", "USER", "STATE", "SINCE", "FETCHED", "ACC", "TX", "NEXT", "TOKEN", "CONSENT", "LAST ERROR"})
	now := time.Now()
	for _, v := range top.views {
		rows = append(rows, v.cells(now, wide))
	}
	if !wide {
		fit(rows, 160)
	}
	t := newTable(p.stdout, rows[0]...)
	for _, cells := range rows[1:] {
		t.row(cells...)
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(p.stdout, top.footer())
	return err
}

// cells are one row: ages, and what is left.
func (v connectionView) cells(now time.Time, wide bool) []string {
	user := v.UserID
	if !wide {
		user = cut(user, 16)
	}
	accounts, transactions := "", ""
	if f := v.LastFetch; f != nil {
		accounts, transactions = strconv.Itoa(f.Accounts), strconv.Itoa(f.Transactions)
	}
	consent := v.Consent.left(now)
	if consent != "" {
		consent = "~" + consent
	}
	return []string{
		v.ID, user, string(v.State), age(now, v.Since), age(now, v.fetched()), accounts, transactions,
		ahead(now, v.NextFetch), v.Token.left(now), consent, v.problemText(),
	}
}

// left is what is left of something, short.
func (e *end) left(now time.Time) string {
	switch {
	case e == nil:
		return ""
	case !e.EndsAt.After(now):
		return "over"
	}
	return short(e.EndsAt.Sub(now))
}

// ahead is how far off a time is; one that is over says for how long.
func ahead(now, at time.Time) string {
	switch {
	case at.IsZero():
		return ""
	case at.Before(now):
		return "-" + short(now.Sub(at))
	}
	return short(at.Sub(now))
}

// fit cuts the last cell of each row so that a line has no more than width columns,
// as long as there is any sense in that.
func fit(rows [][]string, width int) {
	const gap, least = 2, 16
	last := len(rows[0]) - 1
	left := width
	for col := range last {
		widest := 1
		for _, row := range rows {
			widest = max(widest, utf8.RuneCountInString(printable(row[col])))
		}
		left -= widest + gap
	}
	for _, row := range rows {
		row[last] = cut(printable(row[last]), max(left, least))
	}
}

// footer counts what was chosen, by state.
func (t *topConnections) footer() string {
	text := counted(t.total, "connection")
	var parts []string
	for _, s := range connection.States() {
		if n := t.count[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	return text
}
