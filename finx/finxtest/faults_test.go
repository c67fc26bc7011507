package finxtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

func (s *Sandbox) mustFault(t testing.TB, f Fault) {
	t.Helper()
	if _, err := s.AddFault(f); err != nil {
		t.Fatal(err)
	}
}

func TestFaultAnswersInsteadOfTheCall(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  Fault
		check  func(*testing.T, answer)
		effect bool // did the refresh take effect
	}{
		{"finX error", Fault{Status: 500, Code: 30000}, func(t *testing.T, a answer) {
			if code, group, _ := a.finxError(t); code != 30000 || group != "general" {
				t.Errorf("%s", a.body)
			}
		}, false},
		{"html 502", Fault{Status: 502, HTML: "<html><h1>Bad Gateway</h1>"}, func(t *testing.T, a answer) {
			if a.header.Get("Content-Type") != "text/html; charset=utf-8" || string(a.body) != "<html><h1>Bad Gateway</h1>" {
				t.Errorf("%v %s", a.header, a.body)
			}
		}, false},
		{"json body", Fault{Status: 400, Body: `{"error":"invalid_grant"}`}, func(t *testing.T, a answer) {
			if string(a.body) != `{"error":"invalid_grant"}` || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("%v %s", a.header, a.body)
			}
		}, false},
		{"retry-after", Fault{Status: 503, RetryAfter: "7"}, func(t *testing.T, a answer) {
			if a.header.Get("Retry-After") != "7" {
				t.Errorf("%v", a.header)
			}
		}, false},
		{"empty 204", Fault{Status: 204}, func(t *testing.T, a answer) {
			if len(a.body) != 0 {
				t.Errorf("%s", a.body)
			}
		}, false},
		{"504 after the effect", Fault{Status: 504, When: "after"}, func(*testing.T, answer) {}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c := start(t, Options{})
			tk := c.login(s, "u1")
			tt.fault.Call, tt.fault.Times = "token.refresh", 1
			s.mustFault(t, tt.fault)
			a := c.call(tt.fault.Status, "POST", "/auth/token", "", refreshBody(tk.RefreshToken))
			tt.check(t, a)
			if got := s.Stats().Rotations == 1; got != tt.effect {
				t.Errorf("took effect: %v, want %v", got, tt.effect)
			}
			if tt.effect {
				c.refused(refreshBody(tk.RefreshToken))
			} else {
				c.tokens(refreshBody(tk.RefreshToken)) // the fault is over and changed nothing
			}
			if n := s.Stats().Calls["token.refresh"][tt.fault.Status]; n < 1 {
				t.Errorf("the answer is not counted: %v", s.Stats().Calls)
			}
		})
	}
}

func TestDropBeforeAndAfterTheStateChanged(t *testing.T) {
	for _, tt := range []struct {
		drop      string
		exchanges int
	}{{"before", 0}, {"after", 1}} {
		t.Run(tt.drop, func(t *testing.T) {
			s, c := start(t, Options{})
			code := c.connect(s, "u1")
			s.mustFault(t, Fault{Call: "token.exchange", Times: 1, Drop: tt.drop})
			if _, err := c.do("POST", "/auth/token", "", exchangeBody(code)); !isDropped(err) {
				t.Fatalf("error %v, want a dropped connection", err)
			}
			st := s.Stats()
			if st.CodesExchanged != tt.exchanges || st.Calls["token.exchange"][0] != 1 {
				t.Errorf("%d exchanges, want %d; calls %v", st.CodesExchanged, tt.exchanges, st.Calls)
			}
			if tt.drop == "before" {
				c.tokens(exchangeBody(code))
			} else {
				c.refused(exchangeBody(code))
			}
		})
	}
}

func TestGraceHealsALostRotation(t *testing.T) {
	s, c := start(t, Options{Grace: time.Minute})
	tk := c.login(s, "u1")
	s.mustFault(t, Fault{Call: "token.refresh", Times: 1, Drop: "after"})
	if _, err := c.do("POST", "/auth/token", "", refreshBody(tk.RefreshToken)); !isDropped(err) {
		t.Fatalf("error %v", err)
	}
	if next := c.tokens(refreshBody(tk.RefreshToken)); !c.alive(next.AccessToken) {
		t.Error("the pair given again is dead")
	}
	if st := s.Stats(); st.Rotations != 1 || st.GraceAnswers != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestTruncate(t *testing.T) {
	s, c := start(t, Options{})
	tk := c.login(s, "u1")
	whole := c.call(http.StatusOK, "GET", "/rest/transactions", tk.AccessToken, nil)
	s.mustFault(t, Fault{Call: "transactions", Times: 1, Truncate: 5000})
	a, err := c.do("GET", "/rest/transactions", tk.AccessToken, nil)
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(a.body) != 5000 || !bytes.HasPrefix(whole.body, a.body) {
		t.Errorf("%d bytes, error %v", len(a.body), err)
	}
	if again := c.call(http.StatusOK, "GET", "/rest/transactions", tk.AccessToken, nil); !bytes.Equal(again.body, whole.body) {
		t.Error("the next page is not whole")
	}
}

func TestDrip(t *testing.T) {
	s, c := start(t, Options{})
	tk := c.login(s, "u1")
	whole := c.call(http.StatusOK, "GET", "/rest/accounts", tk.AccessToken, nil)
	pieces := (len(whole.body) + 199) / 200
	s.mustFault(t, Fault{Call: "accounts", Drip: &Drip{Bytes: 200, Interval: Duration(5 * time.Millisecond)}})
	began := time.Now()
	slow := c.call(http.StatusOK, "GET", "/rest/accounts", tk.AccessToken, nil)
	if !bytes.Equal(slow.body, whole.body) {
		t.Error("the drip changed the body")
	}
	if took, least := time.Since(began), time.Duration(pieces-1)*5*time.Millisecond; took < least {
		t.Errorf("took %s, want at least %s", took, least)
	}

	s.ClearFaults()
	s.mustFault(t, Fault{Call: "accounts", Drip: &Drip{Bytes: 1, Interval: Duration(time.Hour)}})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/rest/accounts", nil)
	req.Header.Set("Authorization", "Bearer "+tk.AccessToken)
	if a, err := c.send(req); !errors.Is(err, context.DeadlineExceeded) || len(a.body) != 1 {
		t.Errorf("%d bytes, error %v: want one byte and a time-out", len(a.body), err)
	}
}

func TestDelayAfterTheEffect(t *testing.T) {
	s, c := start(t, Options{})
	tk := c.login(s, "u1")
	s.mustFault(t, Fault{Call: "token.refresh", Times: 1, Delay: Duration(time.Hour), When: "after"})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	body, _ := json.Marshal(refreshBody(tk.RefreshToken))
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/auth/token", bytes.NewReader(body))
	req.SetBasicAuth("sandbox", "sandbox-secret")
	if _, err := c.send(req); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want a time-out", err)
	}
	if s.Stats().Rotations != 1 {
		t.Error("the refresh did not take effect")
	}
	s.mustFault(t, Fault{Call: "version", Delay: Duration(30 * time.Millisecond)})
	began := time.Now()
	c.call(http.StatusOK, "GET", "/version", "", nil)
	if took := time.Since(began); took < 30*time.Millisecond {
		t.Errorf("took %s", took)
	}
}

func TestWhichCallsAreHit(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault Fault
		want  []int // statuses of ten calls of /version
	}{
		{"nth", Fault{Call: "version", Nth: 3}, []int{200, 200, 500, 200, 200, 200, 200, 200, 200, 200}},
		{"every", Fault{Call: "*", Every: 4}, []int{200, 200, 200, 500, 200, 200, 200, 500, 200, 200}},
		{"times", Fault{Call: "version", Times: 2}, []int{500, 500, 200, 200, 200, 200, 200, 200, 200, 200}},
		{"every and times", Fault{Call: "version", Every: 2, Times: 2}, []int{200, 500, 200, 500, 200, 200, 200, 200, 200, 200}},
		{"another call", Fault{Call: "accounts"}, []int{200, 200, 200, 200, 200, 200, 200, 200, 200, 200}},
		{"a group of others", Fault{Call: "token"}, []int{200, 200, 200, 200, 200, 200, 200, 200, 200, 200}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c := start(t, Options{})
			tt.fault.Status = 500
			s.mustFault(t, tt.fault)
			hits := 0
			for _, want := range tt.want {
				c.call(want, "GET", "/version", "", nil)
				if want == 500 {
					hits++
				}
			}
			if f := s.Faults()[0]; f.Hits != hits {
				t.Errorf("%d hits, want %d", f.Hits, hits)
			}
		})
	}
}

func TestProbabilityFollowsTheSeed(t *testing.T) {
	run := func(seed uint64) (statuses [200]int, hits int) {
		s, c := start(t, Options{Seed: seed})
		s.mustFault(t, Fault{Call: "version", Probability: 0.3, Status: 500})
		for i := range statuses {
			a, err := c.do("GET", "/version", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			if statuses[i] = a.status; a.status == 500 {
				hits++
			}
		}
		return statuses, hits
	}
	one, hits := run(1)
	if again, _ := run(1); one != again {
		t.Error("the same seed throws other dice")
	}
	if hits < 30 || hits > 90 {
		t.Errorf("%d of 200 hit, want about 60", hits)
	}
}

func TestTokenGroupHitsBothGrants(t *testing.T) {
	s, c := start(t, Options{})
	s.mustFault(t, Fault{Call: "token", Status: 503})
	c.call(http.StatusServiceUnavailable, "POST", "/auth/token", "", exchangeBody("x"))
	c.call(http.StatusServiceUnavailable, "POST", "/auth/token", "", refreshBody("x"))
	if f := s.Faults()[0]; f.Seen != 2 || f.Hits != 2 {
		t.Errorf("fault %+v", f)
	}
}

func TestImpossibleFaultsAreRefused(t *testing.T) {
	s, _ := start(t, Options{})
	for name, f := range map[string]Fault{
		"unknown call":     {Call: "tokens", Status: 500},
		"nothing happens":  {Call: "*"},
		"bad status":       {Call: "*", Status: 42},
		"bad probability":  {Call: "*", Status: 500, Probability: 2},
		"bad drop":         {Call: "*", Drop: "during"},
		"bad when":         {Call: "*", Status: 500, When: "later"},
		"empty drip":       {Call: "*", Drip: &Drip{}},
		"body, no status":  {Call: "*", Body: "{}", Drop: "after"},
		"negative":         {Call: "*", Status: 500, Nth: -1},
		"negative dripped": {Call: "*", Drip: &Drip{Bytes: 1, Interval: -1}},
	} {
		if _, err := s.AddFault(f); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if len(s.Faults()) != 0 {
		t.Error("a refused fault is listed")
	}
}
