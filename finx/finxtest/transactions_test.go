package finxtest

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestPagingSeesEveryTransactionOnce(t *testing.T) {
	s, c := start(t, Options{Seed: 5})
	if err := s.SetUser(User{ID: "u1", Shape: Shape{Accounts: 4, Transactions: 1003, EmptyAccounts: 1, Pending: 3}}); err != nil {
		t.Fatal(err)
	}
	tk := c.login(s, "u1")
	for _, sort := range []string{"asc", "desc"} {
		var all []string
		for offset := 0; ; offset += 100 {
			page := c.list(tk.AccessToken, "count", 100, "offset", offset, "sort", sort)
			all = append(all, ids(page)...)
			if len(page) < 100 {
				break
			}
		}
		unique := slices.Compact(slices.Sorted(slices.Values(all)))
		if len(all) != 1003 || len(unique) != 1003 {
			t.Errorf("%s: %d transactions, %d unique, want 1003", sort, len(all), len(unique))
		}
	}
	if n := len(c.list(tk.AccessToken)); n != 1000 {
		t.Errorf("default page of %d, want 1000", n)
	}
	if n := len(c.list(tk.AccessToken, "offset", 1003)); n != 0 {
		t.Errorf("%d beyond the end", n)
	}
	asc, desc := c.list(tk.AccessToken, "sort", "asc", "count", 2000), c.list(tk.AccessToken, "count", 2000)
	slices.Reverse(desc)
	if !slices.Equal(ids(asc), ids(desc)) {
		t.Error("desc is not the reverse of asc")
	}
	if !slices.IsSortedFunc(asc, func(a, b txView) int { return strings.Compare(a.BookedAt, b.BookedAt) }) {
		t.Error("not sorted by booking day")
	}
	per := map[int]int{}
	for _, a := range c.accounts(tk.AccessToken) {
		n := len(c.list(tk.AccessToken, "accounts", a.AccountID, "count", 5000))
		per[n]++
		var own struct{ Transactions []txView }
		c.call(http.StatusOK, "GET", "/rest/accounts/"+a.AccountID+"/transactions?count=5000", tk.AccessToken, nil).decode(t, &own)
		if len(own.Transactions) != n {
			t.Errorf("the account's own list has %d, want %d", len(own.Transactions), n)
		}
	}
	if want := map[int]int{335: 1, 334: 2, 0: 1}; fmt.Sprint(per) != fmt.Sprint(want) {
		t.Errorf("transactions per account %v, want %v", per, want)
	}
	if n := s.Stats().TransactionsServed; n < 5000 {
		t.Errorf("%d served", n)
	}
}

func TestWindows(t *testing.T) {
	s, c := start(t, Options{HistoryEnd: testEnd, Shape: Shape{Accounts: 1, Transactions: 300, Days: 100, Pending: 2}})
	tk := c.login(s, "u1")
	all := c.list(tk.AccessToken, "sort", "asc", "count", 5000)
	field := map[string]func(txView) string{
		"booked":   func(v txView) string { return v.BookedAt },
		"created":  func(v txView) string { return v.CreatedAt },
		"modified": func(v txView) string { return v.ModifiedAt },
	}
	since, until := "2026-10-01", "2026-10-20"
	for kind, get := range field {
		var want []string
		for _, v := range all {
			if d := get(v)[:10]; d >= since && d <= until {
				want = append(want, v.ID)
			}
		}
		got := ids(c.list(tk.AccessToken, "since", since, "until", until, "since_type", kind, "sort", "asc", "count", 5000))
		if len(want) < 50 || !slices.Equal(got, want) {
			t.Errorf("%s: %d transactions, want %d", kind, len(got), len(want))
		}
	}
	after := ids(c.list(tk.AccessToken, "since", all[200].ID, "sort", "asc"))
	if !slices.Equal(after, ids(all[201:])) {
		t.Errorf("since an id: %d, want %d", len(after), 99)
	}
	// Pending ones are the complete set, whatever since says, and the newest.
	got := c.list(tk.AccessToken, "since", "2030-01-01", "include_pending", 1)
	if len(got) != 2 || got[0].Booked || got[1].Booked {
		t.Errorf("pending %+v", got)
	}
	if got := c.list(tk.AccessToken, "include_pending", "true", "count", 3); got[0].Booked || got[1].Booked || !got[2].Booked {
		t.Errorf("pending do not come first in desc: %+v", got)
	}
	if len(c.list(tk.AccessToken, "since", "2030-01-01")) != 0 {
		t.Error("pending without being asked for")
	}
}

func TestBadParametersAreNamed(t *testing.T) {
	s, c := start(t, Options{})
	tk := c.login(s, "u1")
	for query, field := range map[string]string{
		"count=x": "count", "count=-1": "count", "offset=1.5": "offset", "sort=up": "sort", "since_type=x": "since_type", "since=yesterday": "since",
		"since=T1.1": "since", "until=T1.1": "until", "include_pending=maybe": "include_pending", "filter=person:x": "filter", "amount_gte=1": "amount_gte",
	} {
		a := c.call(http.StatusBadRequest, "GET", "/rest/transactions?"+query, tk.AccessToken, nil)
		if code, group, fields := a.finxError(t); code != 1000 || group != "client" || !slices.Equal(fields, []string{field}) {
			t.Errorf("%s: code %d, group %s, fields %v", query, code, group, fields)
		}
	}
	a := c.call(http.StatusNotFound, "GET", "/rest/accounts/A1.1/transactions", tk.AccessToken, nil)
	if code, _, _ := a.finxError(t); code != 1002 {
		t.Errorf("code %d", code)
	}
}

func TestMaxCountCapsSilently(t *testing.T) {
	s, c := start(t, Options{MaxCount: 50})
	tk := c.login(s, "u1")
	if n := len(c.list(tk.AccessToken, "count", 200)); n != 50 {
		t.Errorf("page of %d, want 50", n)
	}
}

func TestSingleTransactionIsTheListed(t *testing.T) {
	s, c := start(t, Options{})
	tk := c.login(s, "u1")
	for _, v := range c.list(tk.AccessToken, "count", 5, "include_pending", 1) {
		for _, path := range []string{"/rest/transactions/" + v.ID, "/rest/accounts/" + v.AccountID + "/transactions/" + v.ID} {
			var one txView
			c.call(http.StatusOK, "GET", path, tk.AccessToken, nil).decode(t, &one)
			if one != v {
				t.Errorf("%s: %+v, want %+v", path, one, v)
			}
		}
	}
	c.call(http.StatusNotFound, "GET", "/rest/transactions/T1.1", tk.AccessToken, nil)
}

func TestSeedDecidesTheBytes(t *testing.T) {
	read := func(seed uint64, user string) string {
		s, c := start(t, Options{Seed: seed, HistoryEnd: testEnd})
		tk := c.login(s, user)
		return string(c.call(http.StatusOK, "GET", "/rest/transactions?include_pending=1", tk.AccessToken, nil).body)
	}
	one := read(1, "u1")
	if one != read(1, "u1") {
		t.Error("the same seed gives other bytes")
	}
	if one == read(2, "u1") || one == read(1, "u2") {
		t.Error("another seed or user gives the same bytes")
	}
}

func TestObjectsAreValidAndVaried(t *testing.T) {
	a := testAccounts(9, Shape{PerAccount: []int{4000}})[0]
	amounts, spaced, rawUnicode, escaped, markup := map[string]bool{}, 0, 0, 0, 0
	for i := range a.total() {
		b := a.appendTransaction(nil, i, false)
		if !json.Valid(b) || !utf8.Valid(b) {
			t.Fatalf("item %d is not valid: %s", i, b)
		}
		var v struct {
			Amount json.Number `json:"amount"`
		}
		var cents struct {
			Amount json.Number `json:"amount"`
		}
		if json.Unmarshal(b, &v) != nil || json.Unmarshal(a.appendTransaction(nil, i, true), &cents) != nil {
			t.Fatalf("item %d: %s", i, b)
		}
		x, ok := new(big.Rat).SetString(v.Amount.String())
		y, ok2 := new(big.Rat).SetString(cents.Amount.String())
		if !ok || !ok2 || x.Mul(x, big.NewRat(100, 1)).Cmp(y) != 0 {
			t.Fatalf("item %d: amount %s, in cents %s", i, v.Amount, cents.Amount)
		}
		amounts[v.Amount.String()] = true
		text := string(b)
		spaced += strings.Count(text, " :  ")
		escaped += strings.Count(text, `\u`)
		markup += strings.Count(text, "<script>")
		rawUnicode += strings.Count(text, "東京")
	}
	for _, odd := range oddAmounts {
		if !amounts[odd.text] {
			t.Errorf("amount %s never occurs", odd.text)
		}
	}
	if spaced == 0 || escaped == 0 || markup == 0 || rawUnicode == 0 {
		t.Errorf("layouts %d, escapes %d, markup %d, unicode %d: each must occur", spaced, escaped, markup, rawUnicode)
	}
}

func TestObjectSizes(t *testing.T) {
	a := testAccounts(9, Shape{PerAccount: []int{200}, ObjectBytes: 3000, BigEvery: 50, BigBytes: 600_000})[0]
	for i := range a.total() {
		want := 3000
		if (i+1)%50 == 0 {
			want = 600_000
		}
		if b := a.appendTransaction(nil, i, false); len(b) != want || !json.Valid(b) {
			t.Fatalf("item %d has %d bytes, want %d", i, len(b), want)
		}
	}
}

func TestHugeTransactions(t *testing.T) {
	shape := Shape{PerAccount: []int{30, 30}, HugeBytes: []int{3 << 20, 700 << 10}}
	for n, a := range testAccounts(9, shape) {
		a = a.grown(60, testEnd) // a history that grows moves none of them
		var huge []int
		for i := range a.total() {
			if b := a.appendTransaction(nil, i, false); len(b) > 10_000 {
				huge = append(huge, i, len(b))
			}
		}
		want := []int{10, 3 << 20, 20, 700 << 10}
		if n > 0 {
			want = nil
		}
		if !slices.Equal(huge, want) {
			t.Errorf("account %d: items and sizes %v, want %v", n, huge, want)
		}
	}
	for _, bad := range [][]int{{-1}, {maxObjectBytes + 1}, make([]int, maxHuge+1)} {
		if (Shape{Accounts: 1, HugeBytes: bad}).validate() == nil {
			t.Errorf("%d sizes, the first %d, were accepted", len(bad), bad[0])
		}
	}
}

func TestGrowShowsUpInIncrements(t *testing.T) {
	s, c := start(t, Options{})
	tk := c.login(s, "u1")
	s.Advance(30 * time.Minute)
	mark := s.Now()
	if err := s.Grow("u1", 1, 7); err != nil {
		t.Fatal(err)
	}
	got := c.list(tk.AccessToken, "since", mark.Format(time.RFC3339), "since_type", "created")
	if len(got) != 7 || got[0].AccountID != c.accounts(tk.AccessToken)[1].AccountID || got[0].BookedAt[:10] != mark.Format(time.DateOnly) {
		t.Errorf("%d new transactions: %+v", len(got), got)
	}
	if s.Grow("u1", 9, 1) == nil || s.Grow("nobody", 0, 1) == nil || s.Grow("u1", 0, -1) == nil {
		t.Error("a growth that cannot be was accepted")
	}
}

// TestLargeHistoryCostsThePage reads far into a million transactions; a history
// that were held or skipped through would be seen in allocations.
func TestLargeHistoryCostsThePage(t *testing.T) {
	accounts := testAccounts(1, Shape{PerAccount: []int{1_000_000, 1_000_000}, Days: 3650})
	for _, offset := range []string{"0", "1999000"} {
		q, _ := parseQuery(url.Values{"offset": {offset}, "sort": {"asc"}}, accounts)
		var n int
		allocs := testing.AllocsPerRun(3, func() { n = len(page(accounts, q)) })
		if n != 1000 || allocs > 50 {
			t.Errorf("offset %s: %d items with %.0f allocations", offset, n, allocs)
		}
	}
}
