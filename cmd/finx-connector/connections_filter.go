package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/connection"
)

// connectionFilter chooses connections and puts them in order.
type connectionFilter struct {
	state, user, problem, expiring, stale, sort string
	limit                                       int

	within, older time.Duration // of expiring and stale
	has           struct{ problem, expiring, stale bool }
}

// anyError is the value of --error without one.
const anyError = "any"

func (f *connectionFilter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.state, "state", "", "only those in this `state`, such as established")
	c.Flags().StringVar(&f.user, "user", "", "only those of this `user_id`")
	c.Flags().StringVar(&f.problem, "error", "", "only those with a last error; with `=text`, one that says so")
	c.Flags().Lookup("error").NoOptDefVal = anyError
	c.Flags().StringVar(&f.expiring, "expiring", "", "only those whose refresh token or consent has no more left than this `duration`, such as 14d")
	c.Flags().StringVar(&f.stale, "stale", "", "only established ones without a fetch in the last `duration`, such as 24h")
	c.Flags().StringVar(&f.sort, "sort", "since", "by what: "+strings.Join(sorts(), ", ")+"; what needs somebody first comes first")
	c.Flags().IntVar(&f.limit, "limit", 100, "how many to show at most; 0: all")
}

func (f *connectionFilter) check() error {
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
	if _, known := orders()[f.sort]; !known {
		return usagef("--sort must be one of %s", strings.Join(sorts(), ", "))
	}
	var err error
	if f.within, f.has.expiring, err = span("--expiring", f.expiring); err != nil {
		return err
	}
	f.older, f.has.stale, err = span("--stale", f.stale)
	f.has.problem = f.problem != ""
	return err
}

func (f *connectionFilter) takes(v connectionView, now time.Time) bool {
	switch {
	case f.state != "" && string(v.State) != f.state,
		f.user != "" && v.UserID != f.user,
		f.has.problem && (v.LastError == nil || f.problem != anyError && !strings.Contains(v.problemText(), f.problem)),
		f.has.expiring && !v.Token.within(f.within, now) && !v.Consent.within(f.within, now),
		f.has.stale && !v.isStale(now.Add(-f.older)):
		return false
	}
	return true
}

func (e *end) within(d time.Duration, now time.Time) bool {
	return e != nil && !e.EndsAt.After(now.Add(d))
}

// isStale reports whether an established connection has had no fetch since then.
func (v connectionView) isStale(since time.Time) bool {
	return v.State == connection.Established && v.Since.Before(since) && v.fetched().Before(since)
}

// order says which of two connections comes first.
type order func(a, b connectionView) int

// orders are the ways to sort, most of them with what has been let lie for longest,
// or ends soonest, first. Without a value there is nothing to see to: those are last.
func orders() map[string]order {
	return map[string]order{
		"since": func(a, b connectionView) int { return b.Since.Compare(a.Since) },
		"user":  func(a, b connectionView) int { return cmp.Compare(a.UserID, b.UserID) },
		"state": func(a, b connectionView) int {
			return cmp.Or(cmp.Compare(slices.Index(connection.States(), a.State), slices.Index(connection.States(), b.State)), b.Since.Compare(a.Since))
		},
		"fetched": func(a, b connectionView) int { return soonest(a.waiting(), b.waiting()) },
		"next":    func(a, b connectionView) int { return soonest(a.NextFetch, b.NextFetch) },
		"token":   func(a, b connectionView) int { return soonest(a.Token.at(), b.Token.at()) },
		"consent": func(a, b connectionView) int { return soonest(a.Consent.at(), b.Consent.at()) },
		"error":   func(a, b connectionView) int { return b.failed().Compare(a.failed()) },
	}
}

func sorts() []string { return slices.Sorted(maps.Keys(orders())) }

// waiting is since when a connection has had no fetch.
func (v connectionView) waiting() time.Time {
	if v.State == connection.Established && v.LastFetch == nil {
		return v.Since
	}
	return v.fetched()
}

// soonest puts the earlier time first, and none at the end.
func soonest(a, b time.Time) int {
	if a.IsZero() || b.IsZero() {
		return b.Compare(a)
	}
	return a.Compare(b)
}

func (e *end) at() time.Time {
	if e == nil {
		return time.Time{}
	}
	return e.EndsAt
}

// failed is when the last error was.
func (v connectionView) failed() time.Time {
	if v.LastError == nil {
		return time.Time{}
	}
	return v.LastError.At
}
