package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
)

// TestSealedVaultStopsTheLanes seals Vault with callbacks and fetches waiting. What
// needs Vault is not even taken, nothing is spent, and all goes on by itself once
// Vault is open: nobody but a probe has asked it meanwhile.
func TestSealedVaultStopsTheLanes(t *testing.T) {
	t.Parallel()
	const waiting = 40
	r := newRig(t, options{
		vault:   vaulttest.StartOwn(t, "inmem"),
		env:     map[string]string{"BREAKER_WAIT_MAX": "1s", "MAX_ATTEMPTS": "3", "PARK_AFTER": "1s"},
		sandbox: finxtest.Options{RevokeOnReuse: true, Shape: finxtest.Shape{Accounts: 1, Transactions: 20}},
	})
	s := &sealedNight{fleet: newFleet(r)}
	s.prepare(waiting)

	r.vault.Seal(t)
	shut := time.Now()
	s.sendAll(events.TypeSyncRequested, s.syncs[:triggers]) // these find out
	s.says(http.StatusServiceUnavailable, "lane syncs", "lane callbacks", "vault is left alone since")
	for _, durable := range []string{"finx-syncs", "finx-callbacks"} {
		natstest.Eventually(t, within, func() bool { return s.lane(durable).NumWaiting == 0 }, durable+" has no pull open")
	}
	s.sendAll(events.TypeSyncRequested, s.syncs[triggers:])
	s.sendAll(events.TypeCallbackReceived, s.callbacks)
	s.counts("finx-syncs", waiting-triggers)
	s.counts("finx-callbacks", waiting)
	s.link(s.send(events.TypeConnectRequested, connects("meanwhile", 1)[0])) // needs no Vault
	var asked sync.Map                                                       // what Vault is asked meanwhile
	r.safe.on(func(c passing) bool { asked.Store(c.Method+" "+c.Path, c.N); return false })
	for begun := time.Now(); time.Since(begun) < 5*time.Second; pause(t, 200*time.Millisecond) {
		if l := s.lane("finx-syncs"); l.NumWaiting != 0 || l.NumPending != uint64(waiting-triggers) || l.NumAckPending > triggers {
			t.Fatalf("syncs: %d pulls open, %d events wait, %d are under way", l.NumWaiting, l.NumPending, l.NumAckPending)
		}
		if l := s.lane("finx-callbacks"); l.NumWaiting != 0 || l.NumPending != waiting || l.NumAckPending != 0 {
			t.Fatalf("callbacks: %d pulls open, %d events wait, %d are under way", l.NumWaiting, l.NumPending, l.NumAckPending)
		}
	}
	r.safe.on(nil)
	asked.Range(func(call, n any) bool {
		t.Logf("Vault was asked %s, %d times so far", call, n)
		if strings.Contains(call.(string), "/finx/") {
			t.Errorf("a secret was asked for: %s", call)
		}
		return true
	})
	for _, c := range s.calls(shut) {
		if !strings.HasSuffix(c.Path, "/access") {
			t.Errorf("%s %s while Vault was sealed", c.Method, c.Path)
		}
	}

	r.vault.Unseal(t)
	open := time.Now()
	s.amounts(within, events.TypeConnectionEstablished, 2*waiting)
	established := time.Since(open)
	s.amounts(within, events.TypeFetchCompleted, 3*waiting)
	s.settled()
	first := s.calls(open)
	for len(first) > 0 && strings.HasSuffix(first[0].Path, "/access") {
		first = first[1:]
	}
	t.Logf("sealed for %s; the first call %s after it was open, all callbacks handled within %s", open.Sub(shut).Round(time.Millisecond),
		first[0].at.Sub(open).Round(time.Millisecond), established.Round(time.Millisecond))
	// A wait before a probe is a second at most, and another one is left to others.
	if late := first[0].at.Sub(open); late > 5*time.Second {
		t.Errorf("it went on %s after Vault was open", late)
	}
	s.check(2 * waiting)
}

// sealedNight is Vault's outage with what waits for its end.
type sealedNight struct {
	*fleet
	syncs, callbacks []map[string]any
	codes            []string
}

// prepare establishes n connections, and has n more users at the bank.
func (s *sealedNight) prepare(n int) {
	s.t.Helper()
	s.sendAll(events.TypeConnectRequested, connects("guest", 2*n))
	var first []map[string]any
	for i, link := range s.seenAll(events.TypeWidgetLinkCreated, 2*n) {
		back := s.approve(link.Location)
		if i >= n {
			s.callbacks, s.codes = append(s.callbacks, callbackData(back)), append(s.codes, code(back))
			continue
		}
		s.syncs, first = append(s.syncs, syncData(link.ConnectionID)), append(first, callbackData(back))
	}
	s.sendAll(events.TypeCallbackReceived, first)
	s.amounts(within, events.TypeFetchCompleted, n)
	s.settled()
}

// check holds that every code was spent once, after a mark that Vault took.
func (s *sealedNight) check(exchanged int) {
	s.t.Helper()
	times := map[string]int{}
	for _, c := range s.calls(time.Time{}) {
		times[c.spends]++
	}
	for i, c := range s.codes {
		if times[c] != 1 {
			s.t.Errorf("code %d was sent %d times", i, times[c])
		}
	}
	if st := s.sandbox.Stats(); st.CodesExchanged != exchanged || st.CodesReused+st.RefreshesReused+st.CodesExpired > 0 {
		s.t.Errorf("%d codes exchanged, want %d; %d reused, %d too late, %d refresh tokens reused", st.CodesExchanged, exchanged, st.CodesReused, st.CodesExpired, st.RefreshesReused)
	}
	for _, e := range append(s.seen.of(events.TypeConnectionFailed, ""), s.seen.of(events.TypeFetchFailed, "")...) {
		s.t.Errorf("%s: %s", e.Type, fmt.Sprint(e.Reason, ": ", e.Detail))
	}
	if letters := s.seen.lettersSoFar(); len(letters) != 0 {
		s.t.Errorf("%d dead letters, the first: %s", len(letters), header(letters[0], "Dlq-Error"))
	}
}
