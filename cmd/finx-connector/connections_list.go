package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
)

// connectionFilter chooses connections.
type connectionFilter struct {
	state, user string
	limit       int
}

func (f connectionFilter) check() error {
	if f.state != "" && !connection.State(f.state).Valid() {
		names := make([]string, 0, len(connection.States()))
		for _, s := range connection.States() {
			names = append(names, string(s))
		}
		return usagef("--state must be one of %s", strings.Join(names, ", "))
	}
	if f.limit < 0 {
		return usagef("--limit must be 0 or more")
	}
	return nil
}

func (f connectionFilter) takes(r connection.Record) bool {
	return (f.state == "" || string(r.State) == f.state) && (f.user == "" || r.UserID == f.user)
}

func (p *program) connectionsListCommand() *cobra.Command {
	var (
		out    format
		filter connectionFilter
	)
	c := p.withBroker(&cobra.Command{
		Use:   "list",
		Short: "List connections, the one that changed last first",
		Example: `  finx-connector connections list
  finx-connector connections list --user me
  finx-connector connections list --state established --limit 0 -o json`,
		Args:    cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error { return filter.check() },
	}, func(ctx context.Context, b *broker, _ []string) error {
		views, err := b.connections(ctx, filter)
		unreadable, partly := errors.AsType[*connectionkv.UnreadableError](err)
		if err != nil && !partly {
			return err
		}
		total := len(views)
		if filter.limit > 0 && total > filter.limit {
			views = views[:filter.limit]
		}
		if err := p.printConnections(out, views); err != nil {
			return err
		}
		if len(views) < total {
			fmt.Fprintf(p.stderr, "finx-connector: %d of %d shown; --limit 0 shows all\n", len(views), total)
		}
		if partly {
			return unreadable
		}
		return nil
	})
	c.Flags().StringVar(&filter.state, "state", "", "only those in this `state`, such as established")
	c.Flags().StringVar(&filter.user, "user", "", "only those of this `user_id`")
	c.Flags().IntVar(&filter.limit, "limit", 100, "how many to show at most; 0: all")
	out.flag(c)
	return c
}

// connections returns those of a filter, the latest change first. With an
// *UnreadableError they are all but the ones it names.
func (b *broker) connections(ctx context.Context, f connectionFilter) ([]connectionView, error) {
	store, err := b.records()
	if err != nil {
		return nil, err
	}
	byID := map[string]connectionView{} // a record that is written meanwhile comes twice
	err = store.List(ctx, func(r connection.Record) error {
		delete(byID, r.ID)
		if f.takes(r) {
			byID[r.ID] = viewOf(r)
		}
		return nil
	})
	views := make([]connectionView, 0, len(byID))
	for _, v := range byID {
		views = append(views, v)
	}
	slices.SortFunc(views, func(a, b connectionView) int {
		return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.ID, b.ID))
	})
	return views, err
}

func (p *program) printConnections(out format, views []connectionView) error {
	if out.json() {
		return writeJSON(p.stdout, views)
	}
	t := newTable(p.stdout, "CONNECTION", "USER", "STATE", "SINCE", "LAST FETCH", "NEXT FETCH", "LAST ERROR")
	for _, v := range views {
		t.row(v.ID, v.UserID, string(v.State), shown(v.Since), v.lastFetchText(), shown(v.NextFetch), cut(v.problemText(), 80))
	}
	return t.flush()
}
