package finxtest

import (
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAccounts(t *testing.T) {
	s, c := start(t, Options{})
	tk := c.login(s, "u1")
	list := c.accounts(tk.AccessToken)
	if len(list) != 3 || list[0].AccessID != list[2].AccessID || !strings.HasPrefix(list[0].AccessID, "X") {
		t.Fatalf("accounts %+v", list)
	}
	for _, a := range list {
		if !ibanOK(a.IBAN) || !strings.HasPrefix(a.AccountID, "A") || a.Balance == nil || !a.AutoSync {
			t.Errorf("account %+v", a)
		}
		if _, err := time.Parse(time.RFC3339, a.Status.SyncedAt); err != nil {
			t.Error(err)
		}
		var one accountView
		c.call(http.StatusOK, "GET", "/rest/accounts/"+a.AccountID, tk.AccessToken, nil).decode(t, &one)
		if one.AccountID != a.AccountID || one.IBAN != a.IBAN {
			t.Errorf("account %+v, want %+v", one, a)
		}
		b := c.call(http.StatusOK, "GET", "/rest/accounts/"+a.AccountID+"/balance", tk.AccessToken, nil)
		if !strings.Contains(string(b.body), `"balance":`+a.Balance.Balance.String()+",") {
			t.Errorf("balance %s, want %s", b.body, a.Balance.Balance)
		}
	}
	if strings.HasSuffix(list[0].Status.SyncedAt, "Z") == strings.HasSuffix(list[1].Status.SyncedAt, "Z") {
		t.Error("only one shape of timestamps")
	}
	one := c.call(http.StatusOK, "GET", "/rest/accounts", tk.AccessToken, nil)
	two := c.call(http.StatusOK, "GET", "/rest/accounts/", tk.AccessToken, nil)
	if string(one.body) != string(two.body) {
		t.Error("the trailing slash matters")
	}
	c.call(http.StatusNotFound, "GET", "/rest/accounts/A1.1", tk.AccessToken, nil)
	a := c.call(http.StatusUnauthorized, "GET", "/rest/accounts", "unknown-token", nil)
	if h := a.header.Get("WWW-Authenticate"); !strings.Contains(h, "invalid_token") {
		t.Errorf("WWW-Authenticate %q", h)
	}
	a = c.call(http.StatusUnauthorized, "GET", "/rest/accounts", "", nil) // Basic is not enough
	if h := a.header.Get("WWW-Authenticate"); h != `Bearer realm="finX"` {
		t.Errorf("WWW-Authenticate %q", h)
	}
}

func ibanOK(iban string) bool {
	n, ok := new(big.Int).SetString(iban[4:]+"1314"+iban[2:4], 10)
	return len(iban) == 22 && ok && n.Mod(n, big.NewInt(97)).Int64() == 1
}

func TestAllAccessesOfAUserAreSeen(t *testing.T) {
	s, c := start(t, Options{})
	tk := c.login(s, "u1")
	l := c.link("/ongoing/access", accessBody())
	if _, err := s.Act(l.Location, Approve, "Demobank"); err != nil {
		t.Fatal(err)
	}
	c.connect(s, "u1") // the same bank again adds nothing
	if n := len(c.accounts(tk.AccessToken)); n != 6 {
		t.Errorf("%d accounts, want 6: the token is the user's", n)
	}
	if got := c.accounts(c.login(s, "u2").AccessToken); len(got) != 3 || got[0].AccountID == c.accounts(tk.AccessToken)[0].AccountID {
		t.Errorf("another user sees %d accounts", len(got))
	}
}

func TestConsentEnds(t *testing.T) {
	s, c := start(t, Options{AccessLifetime: 400 * day})
	tk := c.login(s, "u1")
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := c.accounts(tk.AccessToken)[0].Status
	s.Advance(179 * day)
	fresh := c.accounts(tk.AccessToken)[0].Status
	if got := at(fresh.SucceededAt).Sub(at(first.SyncedAt)); got != 179*day || fresh.Message != "" {
		t.Errorf("after 179 days: %s, %+v", got, fresh)
	}
	s.Advance(11 * day)
	stale := c.accounts(tk.AccessToken)[0].Status
	if gap := at(stale.SyncedAt).Sub(at(stale.SucceededAt)); gap < 9*day || stale.Message == "" {
		t.Errorf("after 190 days: %+v", stale)
	}
	c.connect(s, "u1") // renewed
	if st := c.accounts(tk.AccessToken)[0].Status; st.Message != "" || st.SyncedAt != st.SucceededAt {
		t.Errorf("after renewal: %+v", st)
	}
}
