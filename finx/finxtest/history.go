package finxtest

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// account is one bank account and its history. It is immutable: whoever grows
// it makes a new one, so pages are generated without a lock.
//
// The history is a function of the index and never held in memory: item i, its
// day and its bytes are computed from the account's key. That makes a page cost
// the page, however long the history is.
type account struct {
	ordinal                   int // position at its bank
	id, number, iban, kind    string
	bank                      *bank
	key                       uint64 // all that is random about the account comes from here
	txPrefix, pendingPrefix   string // of transaction ids
	shape                     Shape
	segments                  []segment
	pending                   int
	pendingDay                time.Time
	ownerName, currencySymbol string
}

// segment is a run of items with perDay items on each day.
type segment struct {
	first, count, perDay int
	day0                 time.Time
	createdOffset        time.Duration // from the booking day to when finX stored the day's first item
	step                 time.Duration // between two items of a day
}

// newAccounts makes the accounts that a user has at a bank. For holders of Sandbox.mu.
func (s *Sandbox) newAccounts(u *user, b *bank) []*account {
	out := make([]*account, u.shape.Accounts)
	for n := range out {
		key := seedOf(s.opts.Seed, u.id, b.ID, strconv.Itoa(n))
		number := fmt.Sprintf("%010d", key%10_000_000_000)
		a := &account{
			ordinal: n, key: key, bank: b, shape: u.shape, number: number, iban: germanIBAN(b.Code, number),
			id:            fmt.Sprintf("A%d.%d", mix(key+1)%1_000_000_000_000_000_000, n+1),
			txPrefix:      fmt.Sprintf("T%d.", mix(key+2)%1_000_000_000_000_000_000),
			pendingPrefix: fmt.Sprintf("T%d.", mix(key+3)%1_000_000_000_000_000_000),
			kind:          b.kinds[n%len(b.kinds)], pending: u.shape.pending(n), pendingDay: s.opts.HistoryEnd,
			ownerName: owners[mix(key+4)%uint64(len(owners))], currencySymbol: "EUR",
		}
		if total := u.shape.booked(n); total > 0 {
			a.segments = []segment{historySegment(total, u.shape.Days, s.opts.HistoryEnd)}
		}
		out[n] = a
	}
	return out
}

// historySegment spreads total items over the days that end with end.
func historySegment(total, days int, end time.Time) segment {
	perDay := (total + days - 1) / days
	used := (total + perDay - 1) / perDay
	return segment{
		count: total, perDay: perDay, day0: end.Add(-time.Duration(used-1) * day),
		createdOffset: 6 * time.Hour, step: 12 * time.Hour / time.Duration(perDay),
	}
}

// grown returns the account with n more items, booked on the day of now.
func (a *account) grown(n int, now time.Time) *account {
	if n == 0 {
		return a
	}
	b := *a
	today := now.Truncate(day)
	created := now
	if last := a.total() - 1; last >= 0 {
		// Created times only rise, also when two growths share a clock reading.
		if after := a.created(last).Add(time.Microsecond); after.After(created) {
			created = after
		}
		if d := a.booked(last); d.After(today) {
			today = d
		}
	}
	b.segments = append(slices.Clip(a.segments), segment{
		first: a.total(), count: n, perDay: n, day0: today,
		createdOffset: created.Sub(today), step: time.Microsecond,
	})
	return &b
}

// total returns the number of booked items.
func (a *account) total() int {
	if len(a.segments) == 0 {
		return 0
	}
	last := a.segments[len(a.segments)-1]
	return last.first + last.count
}

// at returns the segment of item i and its place in it.
func (a *account) at(i int) (seg segment, day, place int) {
	n := sort.Search(len(a.segments), func(n int) bool { return a.segments[n].first > i }) - 1
	seg = a.segments[n]
	return seg, (i - seg.first) / seg.perDay, (i - seg.first) % seg.perDay
}

// booked returns the booking day of item i. It never falls as i rises; neither
// do created and modified, which is what lets bounds be found by bisection.
func (a *account) booked(i int) time.Time {
	seg, d, _ := a.at(i)
	return seg.day0.Add(time.Duration(d) * day)
}

// created returns when finX stored item i.
func (a *account) created(i int) time.Time {
	seg, d, place := a.at(i)
	return seg.day0.Add(time.Duration(d)*day + seg.createdOffset + time.Duration(place)*seg.step)
}

// modified returns when finX last changed item i: within the pause to the next
// item, so the order stays that of created.
func (a *account) modified(i int) time.Time {
	seg, _, _ := a.at(i)
	late := time.Duration(mix(a.key^uint64(i)) % uint64(max(seg.step, 1)))
	return a.created(i).Add(late.Truncate(time.Microsecond))
}

// transactionID returns the id of item i.
func (a *account) transactionID(i int) string { return a.txPrefix + strconv.Itoa(i+1) }

// find returns the item with that id; pending ones are at index j of theirs.
func (a *account) find(id string) (i int, pending, ok bool) {
	rest, ok := strings.CutPrefix(id, a.txPrefix)
	most := a.total()
	if !ok {
		if rest, ok = strings.CutPrefix(id, a.pendingPrefix); !ok {
			return 0, false, false
		}
		pending, most = true, a.pending
	}
	n, err := strconv.Atoi(rest)
	return n - 1, pending, err == nil && n >= 1 && n <= most && strconv.Itoa(n) == rest
}
