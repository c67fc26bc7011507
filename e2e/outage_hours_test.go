package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// In TestThreeHoursOfOutage one second stands for six minutes: three hours, a code
// that lives one hour, an outage that is borne for a day.
const (
	outageLasts  = 30 * time.Second
	codeLives    = 10 * time.Second
	lateApproval = outageLasts - 2*time.Second // codes of then live when finX is back
	waitMax      = time.Second                 // before each probe, and half of it at least
)

// night is the outage with everything that waits for its end.
type night struct {
	*fleet
	established []string             // connections, for which a fetch is asked for
	links       []event              // of the users who come back
	early, late map[string]time.Time // codes of then, with when they were given
	begun, back time.Time
	shut        time.Time // both had found out by then
	rate        int       // calls a second, of both
	waiting     int       // connects, and as many syncs
	users       int       // who come back early, and as many late
	before      int       // calls until both had found out
}

// TestThreeHoursOfOutage has finX away in three ways in turn, for two connectors.
// Nothing is given up, nobody but a probe asks meanwhile, and what had waited is
// worked off no faster than finX is to be asked, dying codes first.
func TestThreeHoursOfOutage(t *testing.T) {
	t.Parallel()
	n := &night{waiting: 300, users: 30, rate: 50} // which a busy machine can do as well
	if os.Getenv("FINX_TEST_LONG") != "" {
		n.waiting, n.users, n.rate = 2000, 150, 100
	}
	r := newRig(t, options{
		memory: true, sandbox: finxtest.Options{CodeLifetime: codeLives, RevokeOnReuse: true, Shape: finxtest.Shape{Accounts: 1, Transactions: 20}},
	})
	n.prepare(r)
	maps.Copy(r.env, map[string]string{
		"FINX_RATE": strconv.Itoa(n.rate), "FINX_CODE_LIFETIME": codeLives.String(), "OUTAGE_AFTER": "4m", "PARK_AFTER": "1s",
		"BREAKER_WAIT_MAX": waitMax.String(), "MAX_ATTEMPTS": "3", "LOG_LEVEL": "error",
		// Few slots for callbacks: were they not the first, they would come in last.
		"CALLBACK_CONCURRENCY": "16", "CONNECT_CONCURRENCY": "48", "SYNC_CONCURRENCY": "48",
		"FINX_TIMEOUT_LINK": "2s", "FINX_TIMEOUT_ACCOUNTS": "2s", "FINX_TIMEOUT_PAGE": "2s",
	})
	n.fleet = newFleet(r)
	n.goesAway()
	n.lasts()
	n.comesBack()
	n.checkProbes()
	n.checkRate()
	n.checkCodes()
	if letters := r.seen.lettersSoFar(); len(letters) != 0 {
		t.Errorf("%d dead letters, the first: %s", len(letters), header(letters[0], "Dlq-Error"))
	}
}

// prepare establishes connections and makes links, with a connector that is in no hurry.
func (n *night) prepare(r *rig) {
	r.t.Helper()
	n.early, n.late = map[string]time.Time{}, map[string]time.Time{}
	begun := time.Now()
	stop := r.start()
	defer stop()
	total := n.waiting + 2*n.users
	r.sendAll(events.TypeConnectRequested, connects("guest", total))
	r.amounts(patience, events.TypeWidgetLinkCreated, total)
	n.links = r.seenAll(events.TypeWidgetLinkCreated, total)
	for some := range slices.Chunk(n.links[:n.waiting], 50) { // few enough for their codes
		var back []map[string]any
		for _, link := range some {
			n.established = append(n.established, link.ConnectionID)
			back = append(back, callbackData(r.approve(link.Location)))
		}
		r.sendAll(events.TypeCallbackReceived, back)
		r.amounts(patience, events.TypeFetchCompleted, len(n.established))
	}
	r.t.Logf("%d connections in %s", n.waiting, time.Since(begun).Round(time.Millisecond))
	n.links = n.links[n.waiting:]
	for durable, stream := range lanesOfWork() {
		r.idle(stream, durable)
	}
}

func connects(name string, n int) (all []map[string]any) {
	for i := range n {
		all = append(all, map[string]any{"user_id": fmt.Sprintf("%s-%d@example.com", name, i), "redirect_uri": redirectURI})
	}
	return all
}

// seenAll waits until the observer has seen so many outputs of a type.
func (r *rig) seenAll(typ string, n int) []event {
	r.t.Helper()
	return await(r, within, typ, func() (all []event, ok bool) {
		for _, e := range r.seen.events {
			if e.Type == typ {
				all = append(all, e)
			}
		}
		return all, len(all) >= n
	})
}

// approvals has users come back from the bank, and notes their codes.
func (n *night) approvals(links []event, codes map[string]time.Time) {
	n.t.Helper()
	var back []map[string]any
	for _, link := range links {
		u := n.approve(link.Location)
		codes[code(u)] = time.Now()
		back = append(back, callbackData(u))
	}
	n.sendAll(events.TypeCallbackReceived, back)
}

func code(back *url.URL) string { return back.Query().Get("code") }

const triggers = 10 // connects that find out

// goesAway takes finX away and publishes what waits then. The users of before have
// approved in time, and their callbacks come a moment late.
func (n *night) goesAway() {
	n.t.Helper()
	n.begun = time.Now()
	n.behave(away)
	n.sendAll(events.TypeConnectRequested, connects("trigger", triggers))
	n.says(http.StatusServiceUnavailable, "finx is left alone since")
	n.shut = time.Now()
	n.before = len(n.calls(n.begun))
	n.quiet()
	n.approvals(n.links[:n.users], n.early)
	n.sendAll(events.TypeConnectRequested, connects("waiting", n.waiting))
	var syncs []map[string]any
	for _, id := range n.established {
		syncs = append(syncs, syncData(id))
	}
	n.sendAll(events.TypeSyncRequested, syncs)
}

// quiet waits until no lane has a pull open at the broker.
func (n *night) quiet() {
	n.t.Helper()
	for durable := range lanesOfWork() {
		natstest.Eventually(n.t, within, func() bool { return n.lane(durable).NumWaiting == 0 }, durable+" has no pull open")
	}
}

// lasts watches the outage to its end: no lane asks the broker for anything.
func (n *night) lasts() {
	n.t.Helper()
	looks, now := 0, away
	waiting := map[string]int{"finx-connects": n.waiting, "finx-syncs": n.waiting, "finx-callbacks": n.users}
	for durable, want := range waiting {
		n.counts(durable, want)
	}
	for passed := time.Duration(0); passed < outageLasts; passed = time.Since(n.begun) {
		if m := away + manner(passed*3/outageLasts); m != now {
			now = m
			n.behave(m)
		}
		if passed > lateApproval && len(n.late) == 0 {
			n.approvals(n.links[n.users:], n.late)
			waiting["finx-callbacks"] += n.users
			n.counts("finx-callbacks", 2*n.users)
		}
		for durable, want := range waiting {
			// What found out is with the consumer, until it is time for another try.
			if l := n.lane(durable); l.NumWaiting != 0 || l.NumPending != uint64(want) || l.NumAckPending > triggers {
				n.t.Fatalf("%s after %s: %s has %d pulls open, %d of %d events wait and %d are under way",
					now, passed.Round(time.Millisecond), durable, l.NumWaiting, l.NumPending, want, l.NumAckPending)
			}
		}
		for i, m := range n.members {
			if status, body, err := get(n.t, m.addr, "/readyz"); err != nil || status != http.StatusServiceUnavailable || !strings.Contains(body, "finx is left alone since") {
				n.t.Errorf("%s after %s: connector %d says %d %s, %v", now, passed.Round(time.Millisecond), i, status, body, err)
			}
		}
		looks++
		pause(n.t, 200*time.Millisecond)
	}
	n.t.Logf("%d looks: all of %v waited in their streams", looks, waiting)
}

// comesBack waits until all is done.
func (n *night) comesBack() {
	n.t.Helper()
	n.back = time.Now()
	n.behave(well)
	limit := patience + 10*n.drain()
	told := 0
	natstest.Eventually(n.t, limit, func() bool {
		told = n.amount(events.TypeConnectionEstablished)
		return told+n.amount(events.TypeConnectionFailed) == n.waiting+2*n.users
	}, "every callback has come to its end")
	n.t.Logf("%d users told in %s", 2*n.users, time.Since(n.back).Round(time.Millisecond))
	n.amounts(limit, events.TypeWidgetLinkCreated, 2*(n.waiting+n.users)+triggers)
	n.amounts(limit, events.TypeFetchCompleted, n.waiting+told)
	for durable, stream := range lanesOfWork() {
		n.idle(stream, durable)
	}
	n.t.Logf("worked off in %s", time.Since(n.back).Round(time.Millisecond))
}

// drain is about how long the calls take that wait for finX to be back.
func (n *night) drain() time.Duration { return time.Duration(4*n.waiting/n.rate) * time.Second }
