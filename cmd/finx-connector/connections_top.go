package main

import (
	"cmp"
	"hash/maphash"
	"slices"

	"github.com/finx-connector/finx-connector/connection"
)

// topConnections keeps the first ones of an order and counts all, however many come:
// of a million it holds the limit twice over, and some bytes each to know it again.
// A record that is written while the bucket is read comes twice; its later form
// counts.
type topConnections struct {
	limit int // 0: all are kept
	order order
	views []connectionView
	seen  map[uint64]uint8 // 1 + the index of the state it was counted under; 0: not chosen
	seed  maphash.Seed
	count map[connection.State]int
	total int
}

func newTop(limit int, by order) *topConnections {
	return &topConnections{
		limit: limit, seed: maphash.MakeSeed(), seen: map[uint64]uint8{}, count: map[connection.State]int{},
		order: func(a, b connectionView) int { return cmp.Or(by(a, b), cmp.Compare(a.ID, b.ID)) },
	}
}

// add takes in a connection, chosen or not.
func (t *topConnections) add(v connectionView, chosen bool) {
	key := maphash.String(t.seed, v.ID)
	if was, again := t.seen[key]; again && was > 0 {
		t.count[connection.States()[was-1]]--
		t.total--
		t.views = slices.DeleteFunc(t.views, func(old connectionView) bool { return old.ID == v.ID })
	}
	t.seen[key] = 0
	if !chosen {
		return
	}
	t.seen[key] = uint8(1 + slices.Index(connection.States(), v.State)) //nolint:gosec // there are seven
	t.count[v.State]++
	t.total++
	t.views = append(t.views, v)
	const slack = 64
	if t.limit > 0 && len(t.views) > 2*t.limit+slack {
		t.sort()
	}
}

// sort puts what is kept in order and drops what is beyond the limit.
func (t *topConnections) sort() {
	slices.SortFunc(t.views, t.order)
	if t.limit > 0 && len(t.views) > t.limit {
		clear(t.views[t.limit:])
		t.views = t.views[:t.limit]
	}
}
