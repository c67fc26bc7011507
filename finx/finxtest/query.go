package finxtest

import (
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// query is the parameters of a transaction list.
type query struct {
	count, offset  int
	desc           bool
	sinceType      string
	since          bound
	until          bound
	accounts       []string
	pending, cents bool
}

// bound is a lower or upper limit. A transaction id limits its own account by
// position and the others by the item's time.
type bound struct {
	set  bool
	at   time.Time
	acct *account
	item int
}

// searching are the documented parameters that would need a search over the
// history. Ignoring them would be a wrong answer, so they are refused.
var searching = [...]string{"filter", "amount_gte", "amount_gt", "amount_lte", "amount_lt", "sync_id", "categories", "payment_partners", "contracts", "types"}

// parseQuery reads the parameters. The accounts are the user's, for ids in since.
func parseQuery(v url.Values, accounts []*account) (query, fieldProblems) {
	q := query{count: 1000, desc: true, sinceType: "booked"}
	bad := fieldProblems{}
	number := func(name string, to *int) {
		if s := v.Get(name); s != "" {
			n, err := strconv.Atoi(s)
			if err != nil || n < 0 {
				bad.add(name, "Not a valid integer.")
			}
			*to = n
		}
	}
	choice := func(name string, allowed ...string) string {
		s := v.Get(name)
		if s != "" && !slices.Contains(allowed, s) {
			bad.add(name, "Must be one of: "+strings.Join(allowed, ", ")+".")
		}
		return s
	}
	flag := func(name string) bool {
		s := strings.ToLower(choice(name, "true", "false", "1", "0", "True", "False"))
		return s == "true" || s == "1"
	}
	number("count", &q.count)
	number("offset", &q.offset)
	q.desc = choice("sort", "asc", "desc") != "asc"
	if s := choice("since_type", "booked", "created", "modified"); s != "" {
		q.sinceType = s
	}
	q.pending, q.cents = flag("include_pending"), flag("cents")
	if flag("include_statistics") {
		bad.add("include_statistics", "Not supported by the sandbox.")
	}
	for _, name := range searching {
		if v.Get(name) != "" {
			bad.add(name, "Not supported by the sandbox.")
		}
	}
	if s := v.Get("accounts"); s != "" {
		q.accounts = strings.Split(s, ",")
	}
	q.parseBounds(v, accounts, bad)
	return q, bad
}

func (q *query) parseBounds(v url.Values, accounts []*account, bad fieldProblems) {
	if s := v.Get("since"); s != "" {
		var ok bool
		if q.since.at, _, ok = parseDate(s); !ok {
			q.since, ok = q.boundOf(s, accounts)
		}
		if q.since.set = ok; !ok {
			bad.add("since", "Not a valid date or transaction ID.")
		}
	}
	if s := v.Get("until"); s != "" {
		at, wholeDay, ok := parseDate(s)
		if !ok {
			bad.add("until", "Not a valid date.")
		}
		if wholeDay { // "equal or older": the day itself belongs to it
			at = at.Add(day - 1)
		}
		q.until = bound{set: ok, at: at}
	}
}

// boundOf finds a booked transaction by its id.
func (q *query) boundOf(id string, accounts []*account) (bound, bool) {
	for _, a := range accounts {
		if i, pending, ok := a.find(id); ok && !pending {
			return bound{at: q.key(a, i), acct: a, item: i}, true
		}
	}
	return bound{}, false
}

// parseDate reads a date or an RFC 3339 timestamp.
func parseDate(s string) (at time.Time, wholeDay, ok bool) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, true, true
	}
	// A plus sign that was not percent-encoded arrives as a space.
	t, err := time.Parse(time.RFC3339, strings.Replace(s, " ", "+", 1))
	return t.UTC(), false, err == nil
}

// key returns the time of item i that since and until are compared with.
func (q *query) key(a *account, i int) time.Time {
	switch q.sinceType {
	case "created":
		return a.created(i)
	case "modified":
		return a.modified(i)
	}
	return a.booked(i)
}

// window returns the half-open range of the account's items that match.
func (q *query) window(a *account) (lo, hi int) {
	hi = a.total()
	if q.since.acct == a && a != nil {
		lo = q.since.item + 1 // newer than the item itself
	} else if q.since.set {
		lo = sort.Search(hi, func(i int) bool { return !q.key(a, i).Before(q.since.at) })
	}
	if q.until.set {
		hi = sort.Search(hi, func(i int) bool { return q.key(a, i).After(q.until.at) })
	}
	return lo, max(lo, hi)
}

// wants reports whether the list is to show the account.
func (q *query) wants(r *http.Request, a *account) bool {
	if id := r.PathValue("id"); id != "" {
		return a.id == id
	}
	return len(q.accounts) == 0 || slices.Contains(q.accounts, a.id)
}
