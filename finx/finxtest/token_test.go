package finxtest

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCodeIsUsedOnce(t *testing.T) {
	s, c := start(t, Options{})
	code := c.connect(s, "u1")
	tk := c.tokens(exchangeBody(code))
	if tk.TokenType != "Bearer" || tk.ExpiresIn < 3590 || tk.ExpiresIn > 3600 || tk.Scope != "accounts=ro balance=ro transactions=ro offline" || tk.RefreshToken == "" {
		t.Fatalf("tokens %+v", tk)
	}
	next := c.tokens(refreshBody(tk.RefreshToken))
	if !c.alive(tk.AccessToken) || !c.alive(next.AccessToken) {
		t.Fatal("a fresh access token is not taken")
	}
	c.refused(exchangeBody(code))
	if c.alive(tk.AccessToken) || c.alive(next.AccessToken) {
		t.Error("the reused code left its tokens alive")
	}
	c.refused(refreshBody(next.RefreshToken))
	if st := s.Stats(); st.CodesExchanged != 1 || st.CodesReused != 1 || st.FamiliesRevoked != 1 || st.Calls["token.exchange"][400] != 1 || st.Calls["token.exchange"][200] != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestCodeRefusals(t *testing.T) {
	s, c := start(t, Options{CodeLifetime: 5 * time.Minute})
	code := c.connect(s, "u1")
	c.refused(exchangeBody("unknown"))
	c.refused(map[string]string{"grant_type": "authorization_code", "code": code, "redirect_uri": "https://app.example/other"})
	s.Advance(5*time.Minute - time.Second)
	late := c.connect(s, "u1")
	c.tokens(exchangeBody(code)) // the refusals before did not use it up
	s.Advance(5 * time.Minute)
	c.refused(exchangeBody(late))
	if st := s.Stats(); st.CodesExpired != 1 || st.CodesExchanged != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestRotationWithoutGrace(t *testing.T) {
	s, c := start(t, Options{})
	first := c.login(s, "u1")
	second := c.tokens(refreshBody(first.RefreshToken))
	if second.RefreshToken == first.RefreshToken || second.AccessToken == first.AccessToken {
		t.Fatal("not rotated")
	}
	c.refused(refreshBody(first.RefreshToken))
	third := c.tokens(refreshBody(second.RefreshToken)) // reuse without RevokeOnReuse leaves the family alone
	if !c.alive(third.AccessToken) {
		t.Error("the family died")
	}
	if st := s.Stats(); st.Refreshes != 2 || st.Rotations != 2 || st.RefreshesReused != 1 || st.GraceAnswers != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestReuseRevokesTheFamily(t *testing.T) {
	s, c := start(t, Options{RevokeOnReuse: true})
	other := c.login(s, "u1")
	first := c.login(s, "u1")
	second := c.tokens(refreshBody(first.RefreshToken))
	c.refused(refreshBody(first.RefreshToken))
	c.refused(refreshBody(second.RefreshToken))
	if c.alive(second.AccessToken) {
		t.Error("the family lives on")
	}
	if !c.alive(other.AccessToken) {
		t.Error("another connection of the user was revoked too")
	}
	if st := s.Stats(); st.FamiliesRevoked != 1 || st.RefreshesReused != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestCodeGraceLastsUntilATokenIsUsed(t *testing.T) {
	s, c := start(t, Options{CodeGrace: time.Minute})
	late, refreshed, fetched := c.connect(s, "u1"), c.connect(s, "u2"), c.connect(s, "u3")
	for _, code := range []string{late, refreshed, fetched} {
		first := c.tokens(exchangeBody(code))
		if again := c.tokens(exchangeBody(code)); again.AccessToken != first.AccessToken || again.RefreshToken != first.RefreshToken {
			t.Fatal("grace gave another pair")
		}
		switch code {
		case late:
			s.Advance(time.Minute)
		case refreshed:
			c.tokens(refreshBody(first.RefreshToken))
		case fetched:
			c.alive(first.AccessToken)
		}
		c.refused(exchangeBody(code))
	}
	if st := s.Stats(); st.CodesExchanged != 3 || st.GraceAnswers != 3 || st.CodesReused != 3 || st.FamiliesRevoked != 3 {
		t.Errorf("stats %+v", st)
	}
}

func TestGraceAnswersTheSamePair(t *testing.T) {
	s, c := start(t, Options{Grace: time.Minute, RevokeOnReuse: true})
	first := c.login(s, "u1")
	second := c.tokens(refreshBody(first.RefreshToken))
	s.Advance(59 * time.Second)
	again := c.tokens(refreshBody(first.RefreshToken))
	if again.AccessToken != second.AccessToken || again.RefreshToken != second.RefreshToken {
		t.Fatal("grace gave another pair")
	}
	if again.ExpiresIn > second.ExpiresIn-58 {
		t.Errorf("expires_in %d does not count from the first answer", again.ExpiresIn)
	}
	if st := s.Stats(); st.Rotations != 1 || st.GraceAnswers != 1 || st.Refreshes != 2 {
		t.Errorf("stats %+v", st)
	}
	// The successor in use proves that it arrived: no more grace for the first.
	third := c.tokens(refreshBody(second.RefreshToken))
	c.refused(refreshBody(first.RefreshToken))
	if c.alive(third.AccessToken) {
		t.Error("reuse after the successor was used left the family alive")
	}

	first = c.login(s, "u2")
	c.tokens(refreshBody(first.RefreshToken))
	s.Advance(time.Minute)
	c.refused(refreshBody(first.RefreshToken)) // the window has closed
}

func TestConcurrentRefreshesRotateOnce(t *testing.T) {
	s, c := start(t, Options{})
	first := c.login(s, "u1")
	var wg sync.WaitGroup
	oks := make(chan int, 8)
	for range cap(oks) {
		wg.Go(func() {
			a, err := c.do("POST", "/auth/token", "", refreshBody(first.RefreshToken))
			if err != nil {
				t.Error(err)
			}
			oks <- a.status
		})
	}
	wg.Wait()
	close(oks)
	n := 0
	for status := range oks {
		if status == http.StatusOK {
			n++
		}
	}
	if st := s.Stats(); n != 1 || st.Rotations != 1 || st.RefreshesReused != 7 {
		t.Errorf("%d succeeded, stats %+v", n, st)
	}
}

func TestExpiry(t *testing.T) {
	s, c := start(t, Options{})
	tk := c.login(s, "u1")
	s.Advance(time.Hour)
	a := c.call(http.StatusUnauthorized, "GET", "/rest/accounts", tk.AccessToken, nil)
	if h := a.header.Get("WWW-Authenticate"); !strings.Contains(h, `error="invalid_token"`) || !strings.Contains(h, "expired") {
		t.Errorf("WWW-Authenticate: %s", h)
	}
	if code, group, _ := a.finxError(t); code != 1003 || group != "client" {
		t.Errorf("code %d, group %s", code, group)
	}
	for range 3 { // the 90 days slide with each rotation
		s.Advance(60 * day)
		tk = c.tokens(refreshBody(tk.RefreshToken))
	}
	s.Advance(90 * day)
	c.refused(refreshBody(tk.RefreshToken))
}

func TestRefreshMayKeepTheToken(t *testing.T) {
	s, c := start(t, Options{KeepRefreshToken: true})
	tk := c.login(s, "u1")
	for range 2 {
		if next := c.tokens(refreshBody(tk.RefreshToken)); next.RefreshToken != "" || !c.alive(next.AccessToken) {
			t.Fatalf("tokens %+v", next)
		}
	}
	if st := s.Stats(); st.Rotations != 0 || st.Refreshes != 2 {
		t.Errorf("stats %+v", st)
	}
}

func TestScopes(t *testing.T) {
	s, c := start(t, Options{Scope: "accounts=ro"})
	tk := c.login(s, "u1")
	if tk.RefreshToken != "" {
		t.Error("a refresh token without offline")
	}
	if got := c.accounts(tk.AccessToken); len(got) != 3 || got[0].Balance != nil {
		t.Errorf("accounts %+v: want 3 without balance", got)
	}
	a := c.call(http.StatusForbidden, "GET", "/rest/transactions", tk.AccessToken, nil)
	if code, _, _ := a.finxError(t); code != 1007 || !strings.Contains(a.header.Get("WWW-Authenticate"), "insufficient_scope") {
		t.Errorf("code %d, %v", code, a.header)
	}
}

func TestTokenErrorShapes(t *testing.T) {
	_, c := start(t, Options{TokenErrors: FinXErrors})
	a := c.call(http.StatusBadRequest, "POST", "/auth/token", "", exchangeBody("x"))
	if code, _, _ := a.finxError(t); code != 1003 || !strings.Contains(string(a.body), "invalid_grant") {
		t.Errorf("answer %s", a.body)
	}
	_, c = start(t, Options{})
	for body, want := range map[string]string{
		`{"grant_type":"password","username":"u"}`: "unsupported_grant_type",
		`{"grant_type":"refresh_token"}`:           "invalid_request",
		`{}`:                                       "invalid_request",
		`grant_type=refresh_token&refresh_token=x`: "invalid_request", // form-encoded is not taken
	} {
		if a := c.call(http.StatusBadRequest, "POST", "/auth/token", "", body); !strings.Contains(string(a.body), `"error":"`+want+`"`) {
			t.Errorf("%s: %s, want %s", body, a.body, want)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, c.base+"/auth/token", strings.NewReader(`{}`))
	req.SetBasicAuth("sandbox", "wrong")
	a, err := c.send(req)
	if err != nil || a.status != http.StatusUnauthorized || !strings.Contains(string(a.body), "invalid_client") || a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("a wrong client: %d %s %v", a.status, a.body, err)
	}
}

func TestRevoke(t *testing.T) {
	s, c := start(t, Options{})
	one, two := c.login(s, "u1"), c.login(s, "u1")
	c.call(http.StatusOK, "POST", "/auth/revoke", "", map[string]string{"token": one.AccessToken})
	if c.alive(one.AccessToken) {
		t.Error("the access token lives")
	}
	one = c.tokens(refreshBody(one.RefreshToken)) // only the access token was revoked
	c.call(http.StatusOK, "GET", "/auth/revoke?token="+one.RefreshToken, "", nil)
	if c.alive(one.AccessToken) || !c.alive(two.AccessToken) {
		t.Error("revoking a refresh token must end its own family and no other")
	}
	c.call(http.StatusOK, "GET", "/auth/revoke?token=unknown", "", nil)
	c.call(http.StatusBadRequest, "GET", "/auth/revoke", "", nil)
	if n := s.RevokeUser("u1"); n != 1 || c.alive(two.AccessToken) {
		t.Errorf("RevokeUser ended %d families, want 1", n)
	}
	if st := s.Stats(); st.Revocations != 2 || st.FamiliesRevoked != 2 {
		t.Errorf("stats %+v", st)
	}
}

func TestTokenLengths(t *testing.T) {
	for _, n := range []int{MinTokenBytes, 100, 2048, MaxTokenBytes} {
		s, c := start(t, Options{CodeBytes: n, AccessTokenBytes: n, RefreshTokenBytes: n})
		code := c.connect(s, "u1")
		tk := c.tokens(exchangeBody(code))
		if len(code) != n || len(tk.AccessToken) != n || len(tk.RefreshToken) != n {
			t.Errorf("lengths %d, %d, %d, want %d", len(code), len(tk.AccessToken), len(tk.RefreshToken), n)
		}
		if !c.alive(tk.AccessToken) {
			t.Errorf("%d bytes: not taken as bearer", n)
		}
		c.tokens(refreshBody(tk.RefreshToken))
		c.call(http.StatusOK, "GET", "/auth/revoke?token="+tk.AccessToken, "", nil)
	}
	if err := (Options{CodeBytes: 19}).Validate(); err == nil || !strings.Contains(err.Error(), "CodeBytes") {
		t.Errorf("19 bytes: %v", err)
	}
}
