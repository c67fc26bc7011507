package e2e_test

import (
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
)

// checkProbes bounds what came while finX was away: one probe after each wait,
// whatever the number of connectors.
func (n *night) checkProbes() {
	n.t.Helper()
	const failures, slots = 5, triggers // BREAKER_FAILURES, and what was under way
	if most := len(n.members) * (failures + slots); n.before > most {
		n.t.Errorf("%d calls until both had found out, want %d at most", n.before, most)
	}
	probes := 0
	byName := map[string]int{}
	for _, c := range n.calls(n.shut) {
		if c.at.Before(n.back) {
			probes++
			byName[c.Method+" "+c.Path]++
		}
	}
	// The waits are spread between half and the whole of BREAKER_WAIT_MAX. So many of
	// them are no shorter than two thirds on average; and one had begun before.
	most := int(n.back.Sub(n.shut)/(waitMax*2/3)) + 1
	n.t.Logf("found out after %d calls in %s; then %d probes in %s: %v", n.before, n.shut.Sub(n.begun).Round(time.Millisecond),
		probes, n.back.Sub(n.shut).Round(time.Millisecond), byName)
	// None is an event's own call, so none of these has to find out.
	if probes > most || probes == 0 || len(byName) > 1 {
		n.t.Errorf("%d calls while finX was away, want %d at most and of one kind: %v", probes, most, byName)
	}
}

// checkRate holds that nobody was faster than allowed, both together and each.
func (n *night) checkRate() {
	n.t.Helper()
	// Calls leave in step, and arrive as the machine lets them.
	const slack = 1.2
	rate := float64(n.rate)
	both := n.calls(n.back)
	lasted := both[len(both)-1].at.Sub(both[0].at)
	n.t.Logf("%d calls in %s, %.1f a second, at most %d in one", len(both), lasted.Round(time.Millisecond),
		float64(len(both))/lasted.Seconds(), busiestWindow(both, time.Second))
	if got := busiestWindow(both, time.Second); float64(got) > slack*rate {
		n.t.Errorf("%d calls within a second, want %d", got, n.rate)
	}
	if most := rate*lasted.Seconds()*1.02 + 5; float64(len(both)) > most {
		n.t.Errorf("%d calls in %s, want %.0f at most", len(both), lasted, most)
	}
	for i, m := range n.members {
		if got := busiestWindow(m.door.since(n.back), time.Second); float64(got) > slack*rate/2+1 || got == 0 {
			n.t.Errorf("connector %d: %d calls within a second, want %d", i, got, n.rate/2)
		}
	}
}

// checkCodes holds that every code that could be saved was, before anything that
// could wait, and that the others were not spent.
func (n *night) checkCodes() {
	n.t.Helper()
	sent := map[string]bool{}
	others, last, margin := 0, 0, codeLives
	var lastAt time.Time
	for i, c := range n.calls(n.begun) {
		if c.isExchange() {
			sent[c.spends] = true
		}
		given, late := n.late[c.spends]
		if !late || c.at.Before(n.back) {
			continue
		}
		last, lastAt = i, c.at
		margin = min(margin, given.Add(codeLives).Sub(c.at))
	}
	for _, c := range n.calls(n.begun)[:last] {
		if c.at.After(n.back) && !c.isExchange() {
			others++
		}
	}
	n.t.Logf("%d codes saved within %s, the latest %s before its end; %d other calls in between",
		len(n.late), lastAt.Sub(n.back).Round(time.Millisecond), margin.Round(time.Millisecond), others)
	if margin <= 0 {
		n.t.Errorf("a code was sent %s after its end", -margin)
	}
	// By their slots, others would be more than six times as many.
	if others > 3*n.users {
		n.t.Errorf("%d other calls went before the last of %d codes", others, n.users)
	}
	s := n.sandbox.Stats()
	if want := n.waiting + n.users; s.CodesExchanged != want || s.CodesReused+s.CodesExpired+s.RefreshesReused > 0 {
		n.t.Errorf("%d codes exchanged, want %d; %d reused, %d too late, %d refresh tokens reused", s.CodesExchanged, want, s.CodesReused, s.CodesExpired, s.RefreshesReused)
	}
	checkExpired(n.t, n.seen.of(events.TypeConnectionFailed, ""), n.early, sent)
}

// checkExpired holds that users whose code died are told so, unless it was tried.
func checkExpired(t testing.TB, failed []event, early map[string]time.Time, sent map[string]bool) {
	t.Helper()
	tried := 0
	for c := range early {
		if sent[c] {
			tried++
		}
	}
	told := map[string]int{}
	for _, e := range failed {
		told[e.Reason]++
	}
	t.Logf("%d codes died, %d of them in a probe: %v", len(early), tried, told)
	if unknown := told[events.ReasonExchangeOutcomeUnknown]; unknown > tried || told[events.ReasonCodeExpired] != len(early)-unknown {
		t.Errorf("%d users told %v, %d codes were tried", len(early), told, tried)
	}
}
