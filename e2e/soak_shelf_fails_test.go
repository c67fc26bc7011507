package e2e_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// TestShelfMissesAPart completes a fetch of which a part was dropped.
func TestShelfMissesAPart(t *testing.T) {
	part := func(n int) events.Output {
		return events.NewTransactionsFetched(events.Cause{}, events.TransactionsFetched{
			ConnectionID: "c", FetchID: "f", AccountID: "a", Account: []byte(`{"account_id":"a"}`), Part: n, Transactions: []byte(`{"n":1}`),
		})
	}
	for name, dropped := range map[string]int{"none": -1, "the first": 0, "the last": 1} {
		t.Run(name, func(t *testing.T) {
			l := newLedger()
			s := newShelf(t.Context(), nil, l)
			p := payload{FetchID: "f", Accounts: []events.AccountFetched{{AccountID: "a", Parts: 2, Transactions: 2}}}
			for n := range 2 {
				o := part(n)
				p.EventIDs = append(p.EventIDs, o.ID)
				if n != dropped {
					s.put(o)
				}
			}
			s.complete(events.Output{ConnectionID: "c"}, p)
			if got := strings.Join(l.faults, "\n"); (dropped < 0) != (got == "") || dropped >= 0 && !strings.Contains(got, p.EventIDs[dropped]) {
				t.Errorf("trouble %q", got)
			}
		})
	}
}

// TestBankBookSeesAnotherByte holds a fetch against the sandbox, as it was and
// with another digest.
func TestBankBookSeesAnotherByte(t *testing.T) {
	const user = "bytes@example.com"
	sandbox, base := finxtest.Start(t, finxtest.Options{
		ClientID: clientID, ClientSecret: clientSecret, Shape: finxtest.Shape{Accounts: 2, Transactions: 6, HugeBytes: []int{soakOversize}},
	})
	s := &soak{world: &world{t: t, sandbox: sandbox, base: base}, ledger: newLedger()}
	s.shelf = newShelf(t.Context(), nil, s.ledger)
	bearer := connected(t, base, user, func(location string) *url.URL {
		back, err := sandbox.Approve(location)
		if err != nil {
			t.Fatal(err)
		}
		return back
	})
	whole := wholeFetch{user: user}
	var list struct {
		Accounts []struct {
			ID string `json:"account_id"`
		} `json:"accounts"`
	}
	decode(t, call(t, "GET", base+"/rest/accounts", bearer, nil), &list)
	for _, a := range list.Accounts {
		account := wholeAccount{id: a.ID}
		is := s.serves(bearer, account)
		account.digest, account.transactions = is.digest, is.transactions
		whole.accounts = append(whole.accounts, account)
	}
	for name, c := range map[string]struct {
		spoil func(*wholeAccount)
		good  bool
	}{
		"as it is":       {func(*wholeAccount) {}, true},
		"another byte":   {func(a *wholeAccount) { a.digest = strings.Repeat("0", len(a.digest)) }, false},
		"one of another": {func(a *wholeAccount) { a.transactions++ }, false},
	} {
		t.Run(name, func(t *testing.T) {
			spoiled := wholeFetch{user: user, accounts: append([]wholeAccount(nil), whole.accounts...)}
			c.spoil(&spoiled.accounts[1])
			s.shelf.fetches["f"] = spoiled
			if n, err := s.compare("f", bearer, map[string]served{}); (err == nil) != c.good || c.good && n != 6 {
				t.Errorf("%d transactions, %v", n, err)
			}
		})
	}
	if n := len(s.ledger.inputsOf(anOversizeEntry)); n != 1 {
		t.Errorf("%d large transactions are expected, want 1", n)
	}
}
