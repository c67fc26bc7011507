package finxtest

import (
	"math/rand/v2"
	"net/url"
	"slices"
	"testing"
	"time"
)

// listAll is the slow and obvious reading of what page promises: every item
// that matches, sorted, cut.
func listAll(accounts []*account, q query) []ref {
	var all []ref
	for _, a := range accounts {
		for i := range a.total() {
			k := q.key(a, i)
			switch {
			case q.since.acct == a && i <= q.since.item,
				q.since.set && q.since.acct != a && k.Before(q.since.at),
				q.until.set && k.After(q.until.at):
				continue
			}
			all = append(all, ref{account: a, item: i})
		}
	}
	slices.SortStableFunc(all, func(x, y ref) int { return x.account.booked(x.item).Compare(y.account.booked(y.item)) })
	if q.pending {
		for _, a := range accounts {
			for j := range a.pending {
				all = append(all, ref{account: a, item: j, pending: true})
			}
		}
	}
	if q.desc {
		slices.Reverse(all)
	}
	from := min(q.offset, len(all))
	return all[from:min(len(all), from+q.count)]
}

var testEnd = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

func testAccounts(seed uint64, shape Shape) []*account {
	s := New(Options{Seed: seed, HistoryEnd: testEnd})
	return s.newAccounts(&user{id: "u", shape: shape.withDefaults()}, banks()[0])
}

func TestPageIsTheMergedList(t *testing.T) {
	dice := rand.New(rand.NewPCG(7, 7))
	pick := func(values ...string) string { return values[dice.IntN(len(values))] }
	for round := range 3000 {
		shape := Shape{Pending: dice.IntN(4), Days: 1 + dice.IntN(40)}
		for range 1 + dice.IntN(4) {
			shape.PerAccount = append(shape.PerAccount, dice.IntN(60)*dice.IntN(2))
		}
		accounts := testAccounts(uint64(round), shape)
		for k := range accounts {
			for range dice.IntN(3) {
				now := testEnd.Add(time.Duration(dice.IntN(100)) * time.Hour)
				accounts[k] = accounts[k].grown(dice.IntN(5), now)
			}
		}
		v := url.Values{
			"sort": {pick("asc", "desc")}, "since_type": {pick("booked", "created", "modified")}, "include_pending": {pick("0", "1")},
			"count":  {pick("0", "1", "7", "1000")},
			"offset": {pick("0", "0", "1", "13", "90", "9999")},
			"since":  {pick("", testEnd.AddDate(0, 0, -dice.IntN(40)).Format(time.DateOnly), testEnd.Add(-time.Duration(dice.IntN(1e6))*time.Second).Format(time.RFC3339))},
			"until":  {pick("", testEnd.AddDate(0, 0, -dice.IntN(20)).Format(time.DateOnly), testEnd.Add(-time.Duration(dice.IntN(1e6))*time.Second).Format(time.RFC3339))},
		}
		if a := accounts[dice.IntN(len(accounts))]; a.total() > 0 && dice.IntN(3) == 0 {
			v.Set("since", a.transactionID(dice.IntN(a.total())))
		}
		q, bad := parseQuery(v, accounts)
		if len(bad) > 0 {
			t.Fatalf("%v: %v", v, bad)
		}
		if got, want := page(accounts, q), listAll(accounts, q); !slices.Equal(got, want) {
			t.Fatalf("round %d, %v:\n got %d items %v\nwant %d items %v", round, v, len(got), got, len(want), want)
		}
	}
}

func TestTimesOnlyRise(t *testing.T) {
	for _, a := range testAccounts(3, Shape{PerAccount: []int{2000, 17, 1}, Days: 30}) {
		now := testEnd.Add(30 * time.Hour)
		for _, n := range []int{500, 3, 1} {
			a = a.grown(n, now) // the same reading of the clock each time
		}
		for i := 1; i < a.total(); i++ {
			if a.booked(i).Before(a.booked(i-1)) || a.created(i).Before(a.created(i-1)) || a.modified(i).Before(a.modified(i-1)) {
				t.Fatalf("item %d is older than the one before", i)
			}
			if a.modified(i).Before(a.created(i)) || a.created(i).Before(a.booked(i)) {
				t.Fatalf("item %d: booked %s, created %s, modified %s", i, a.booked(i), a.created(i), a.modified(i))
			}
		}
	}
}

func TestGrowingChangesNothingBefore(t *testing.T) {
	a := testAccounts(3, Shape{PerAccount: []int{50}})[0]
	b := a.grown(10, testEnd.Add(time.Hour))
	if b.total() != 60 || a.total() != 50 {
		t.Fatalf("totals %d and %d", a.total(), b.total())
	}
	for i := range a.total() {
		if string(a.appendTransaction(nil, i, false)) != string(b.appendTransaction(nil, i, false)) {
			t.Fatalf("item %d changed", i)
		}
	}
}

func BenchmarkPageOf1000(b *testing.B) {
	for _, bm := range []struct {
		name  string
		total int
	}{{"history 10k", 10_000}, {"history 1M", 1_000_000}} {
		b.Run(bm.name, func(b *testing.B) {
			accounts := testAccounts(1, Shape{PerAccount: []int{bm.total, bm.total, bm.total}, Days: 3650})
			q, _ := parseQuery(url.Values{"offset": {"20000"}, "sort": {"asc"}}, accounts)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = buf[:0]
				for _, t := range page(accounts, q) {
					buf = t.append(buf, false)
				}
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}
