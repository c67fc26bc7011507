package finxtest

import (
	"slices"
	"sort"
	"time"
)

// ref names one transaction without its content.
type ref struct {
	account *account
	item    int
	pending bool
}

// span is the matching part of one account's history.
type span struct {
	account *account
	lo, hi  int
}

// page picks the transactions at positions offset…offset+count of the merged
// list. In ascending order that list is: booked ones by day, on a day by
// account and age; then the pending ones, which no date limits. Descending is
// the exact reverse. The cost is that of the page, not of the history.
func page(accounts []*account, q query) []ref {
	spans, booked, pending := make([]span, 0, len(accounts)), 0, 0
	for _, a := range accounts {
		lo, hi := q.window(a)
		spans = append(spans, span{a, lo, hi})
		booked += hi - lo
		if q.pending {
			pending += a.pending
		}
	}
	total := booked + pending
	if q.offset >= total {
		return nil
	}
	from, to := q.offset, total
	if q.count < total-q.offset {
		to = q.offset + q.count
	}
	if q.desc {
		from, to = total-to, total-from
	}
	out := make([]ref, 0, to-from)
	if from < booked {
		out = appendBooked(out, spans, from, min(to, booked))
	}
	if to > booked {
		out = appendPendingRefs(out, accounts, max(0, from-booked), to-booked)
	}
	if q.desc {
		slices.Reverse(out)
	}
	return out
}

// before returns the first item of the span that is booked on day d or later.
func (s span) before(d time.Time) int {
	return s.lo + sort.Search(s.hi-s.lo, func(i int) bool { return !s.account.booked(s.lo + i).Before(d) })
}

// appendBooked appends the booked items at positions from…to, oldest first.
func appendBooked(out []ref, spans []span, from, to int) []ref {
	// Find the day that position from falls on: the last one with no more than
	// from items before it.
	var first, last time.Time
	for _, s := range spans {
		if s.lo == s.hi {
			continue
		}
		if a := s.account.booked(s.lo); first.IsZero() || a.Before(first) {
			first = a
		}
		if b := s.account.booked(s.hi - 1); b.After(last) {
			last = b
		}
	}
	olderThan := func(d time.Time) (n int) {
		for _, s := range spans {
			n += s.before(d) - s.lo
		}
		return n
	}
	days := int(last.Sub(first)/day) + 1
	skipped := max(0, sort.Search(days, func(n int) bool { return olderThan(first.Add(time.Duration(n)*day)) > from })-1)
	today := first.Add(time.Duration(skipped) * day)

	position := olderThan(today)
	next := make([]int, len(spans))
	for i, s := range spans {
		next[i] = s.before(today)
	}
	for position < to {
		today = earliest(spans, next)
		for k, s := range spans {
			for ; next[k] < s.hi && position < to && s.account.booked(next[k]).Equal(today); next[k]++ {
				if position >= from {
					out = append(out, ref{account: s.account, item: next[k]})
				}
				position++
			}
		}
	}
	return out
}

// earliest returns the day of the oldest item not yet taken.
func earliest(spans []span, next []int) (d time.Time) {
	for k, s := range spans {
		if next[k] < s.hi {
			if b := s.account.booked(next[k]); d.IsZero() || b.Before(d) {
				d = b
			}
		}
	}
	return d
}

// appendPendingRefs appends the pending items at positions from…to.
func appendPendingRefs(out []ref, accounts []*account, from, to int) []ref {
	position := 0
	for _, a := range accounts {
		for j := max(0, from-position); j < a.pending && position+j < to; j++ {
			out = append(out, ref{account: a, item: j, pending: true})
		}
		position += a.pending
	}
	return out
}
