package e2e_test

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// The moments at which Vault goes away.
const (
	beforeEvent = "before the event"
	atMark      = "before the mark"
	duringCall  = "during the call"
	afterStore  = "after the store"
)

// customer is one connection that spends something at one of the moments.
type customer struct {
	moment string
	id     string // of the connection
	value  string // what is spent: the code, or the refresh token
	back   *url.URL
	asked  int // calls to Vault when it went away
}

func (c *customer) exchanges() bool { return c.back != nil }

func (c *customer) String() string {
	if c.exchanges() {
		return "exchange, " + c.moment
	}
	return "refresh, " + c.moment
}

// house is an installation whose Vault goes away.
type house struct {
	*rig
	kind      outage
	watch     *watch
	p         *process
	customers []*customer
}

func newHouse(t *testing.T, kind outage) *house {
	t.Helper()
	r, w := newRigWithOutage(t, kind, options{
		sandbox: finxtest.Options{RevokeOnReuse: true, Shape: finxtest.Shape{Accounts: 1, Transactions: 20}},
		env: map[string]string{
			"FINX_TIMEOUT_TOKEN": "40s",  // a held call must not end by itself
			"BREAKER_FAILURES":   "1000", // every event is to meet the outage, not only the first few
		},
	})
	return &house{rig: r, kind: kind, watch: w, p: r.serveAnywhere(true)}
}

// TestVaultAwayAtEveryMoment takes Vault away in every way, before, during and
// after every call that spends something, with a provider that revokes
// everything when a refresh token comes twice. The last kinds are troubles at
// the same moments that the connector gets over by itself.
func TestVaultAwayAtEveryMoment(t *testing.T) {
	t.Parallel()
	kinds := append(outages(), nuisances()...)
	sideBySide(t, len(kinds), kinds, func(k outage) string { return k.name }, func(t *testing.T, kind outage) {
		h := newHouse(t, kind)
		h.open()
		h.firstOutage()
		if kind.up != nil {
			h.checkAway()
			kind.up(h.rig, h.watch)
		}
		h.finished(h.of(beforeEvent, atMark, duringCall)...)
		h.secondOutage()
		if kind.up != nil {
			h.goOn()
			kind.up(h.rig, h.watch)
		}
		h.finished(h.of(afterStore)...)
		h.audit()
	})
}

// open brings every connection to where it will spend something.
func (h *house) open() {
	moments := []string{beforeEvent, atMark, duringCall, afterStore}
	for _, moment := range moments {
		h.customers = append(h.customers, h.refresher(moment))
	}
	h.sandbox.Advance(2 * time.Hour) // every access token is dead, whatever the records say
	for _, moment := range moments {
		h.customers = append(h.customers, h.exchanger(moment))
	}
}

// refresher is a connection that is to spend its refresh token.
func (r *rig) refresher(moment string) *customer {
	r.t.Helper()
	link, _ := r.establish("refresh, " + moment)
	token, _ := r.kept(link.ConnectionID)["refresh_token"].(string)
	return &customer{moment: moment, id: link.ConnectionID, value: token}
}

// exchanger is a connection whose user is back from the bank with a code.
func (r *rig) exchanger(moment string) *customer {
	r.t.Helper()
	link := r.connect("exchange, " + moment)
	back := r.approve(link.Location)
	return &customer{moment: moment, id: link.ConnectionID, back: back, value: back.Query().Get("code")}
}

// of returns the customers of some moments.
func (h *house) of(moments ...string) []*customer {
	return slices.DeleteFunc(slices.Clone(h.customers), func(c *customer) bool { return !slices.Contains(moments, c.moment) })
}

// act sends the event that makes a connection spend.
func (r *rig) act(c *customer) {
	r.t.Helper()
	if c.exchanges() {
		r.callback(c.back)
		return
	}
	r.send(events.TypeSyncRequested, syncData(c.id))
}

// firstOutage takes Vault away while marks are on their way to it and token
// calls on their way to finX, and lets all of them go on.
func (h *house) firstOutage() {
	var held []*catch
	for _, c := range h.of(atMark, duringCall) {
		fits := marking(c.id)
		if c.moment == duringCall {
			fits = spending(c.value)
		}
		held = append(held, h.watch.next(fits))
		h.act(c)
	}
	for _, one := range held {
		one.wait(h.t, h.kind.name)
	}
	h.kind.down(h.rig, h.watch)
	for _, c := range h.customers {
		c.asked = h.watch.calls(c.id)
	}
	for _, one := range held {
		one.release()
	}
	for _, c := range h.of(beforeEvent) {
		h.act(c)
	}
}

// checkAway waits until everybody has met the outage: those who have not spent
// anything yet have tried again and again, and the answers in hand are told of.
func (h *house) checkAway() {
	more := 2
	if h.kind.mayCall {
		more = 1 // it may be on its way to the end already, and slow
	}
	natstest.Eventually(h.t, within, func() bool {
		for _, c := range h.of(beforeEvent, atMark) {
			if h.watch.calls(c.id) < c.asked+more {
				return false
			}
		}
		return true
	}, "every event was tried again")
	if h.kind.mayCall {
		return // the watch judges each call, and answers are stored, slowly
	}
	h.ready(h.p, http.StatusServiceUnavailable, notReady("vault"), notReady("custody"), "2 connections")
	for _, c := range h.of(beforeEvent, atMark, duringCall) {
		want := map[bool]int{true: 1}[c.moment == duringCall]
		if n := h.watch.times(c.value); n != want {
			h.t.Errorf("%s: %d calls to finX while Vault is away, want %d", c, n, want)
		}
	}
	if n := len(h.seen.of(events.TypeConnectionEstablished, "")); n != len(h.customers)/2 {
		h.t.Errorf("%d connections are established, want those of before", n)
	}
}

// notReady is how /readyz begins what it has to say of a dependency that is away.
func notReady(name string) string { return `"name": "` + name + `",` + "\n      \"ready\": false" }

// finished waits until the fetches of connections are whole.
func (r *rig) finished(customers ...*customer) {
	r.t.Helper()
	for _, c := range customers {
		trigger := events.TriggerRequest
		if c.exchanges() {
			trigger = events.TriggerCallback
		}
		if done := r.fetched(c.id, trigger); string(done.Transactions) != "20" {
			r.t.Errorf("%s: %s transactions", c, done.Transactions)
		}
	}
}

// secondOutage takes Vault away when it has stored tokens and the connector
// does not know it yet.
func (h *house) secondOutage() {
	var held []*catch
	for _, c := range h.of(afterStore) {
		held = append(held, h.watch.next(tokensStored(c.id)))
		h.act(c)
	}
	for _, one := range held {
		one.wait(h.t, h.kind.name)
	}
	h.kind.down(h.rig, h.watch)
	for _, one := range held {
		one.release()
	}
}

// goOn waits for what needs no more of Vault: a fetch with the token that
// has just come, and the news of a connection.
func (h *house) goOn() {
	for _, c := range h.of(afterStore) {
		if !c.exchanges() {
			h.finished(c)
			continue
		}
		h.event("established", func(e event) bool { return e.Type == events.TypeConnectionEstablished && e.ConnectionID == c.id })
	}
}

// audit holds what finX, Vault and the broker have against one spending each.
func (h *house) audit() {
	h.ready(h.p, http.StatusOK)
	if code, _ := h.p.term(within); code != 0 {
		h.t.Errorf("exit code %d", code)
	}
	for _, c := range h.customers {
		if n := h.watch.times(c.value); n != 1 {
			h.t.Errorf("%s: %d calls to finX, want one", c, n)
		}
		h.checkStored(c)
	}
	if s := h.sandbox.Stats(); s.CodesReused+s.RefreshesReused+s.FamiliesRevoked != 0 || s.CodesExchanged != 8 || s.Rotations != 4 {
		h.t.Errorf("%d codes exchanged, %d rotations, %d codes and %d refresh tokens reused, %d families revoked",
			s.CodesExchanged, s.Rotations, s.CodesReused, s.RefreshesReused, s.FamiliesRevoked)
	}
	h.nothingLost()
}

// nothingLost looks for what nobody should have been told.
func (r *rig) nothingLost() {
	r.t.Helper()
	for _, typ := range []string{events.TypeConnectionFailed, events.TypeFetchFailed, events.TypeReauthorizationRequired} {
		for _, e := range r.seen.of(typ, "") {
			r.t.Errorf("%s: %s", typ, e.Data)
		}
	}
	for _, letter := range r.seen.lettersSoFar() {
		r.t.Errorf("dead letter: %s", header(letter, consumer.HeaderError))
	}
}
