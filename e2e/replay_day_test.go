package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// guest is somebody who went to the bank on the day.
type guest struct {
	kind string
	user string
	link event
}

// The guests of a day, 150 in all.
func guestsOfADay() map[string]int {
	return map[string]int{
		"plain": 67, "renewal cancelled": 3, "repeated": 20, "injected": 10, "cancelled": 10, "cancelled, then approved": 3, "refused": 10,
		"made-up code": 7, "late": 7, "answer lost": 1, "renewed with a code": 8, "renewed without a code": 4,
	}
}

// day is a day's work of two replicas, which is then replayed.
type day struct {
	*rig
	dice   *rand.Rand
	guests map[string][]guest
	sent   int // callbacks
}

// aDay plays one with everything that happens to callbacks.
func aDay(t *testing.T, shape finxtest.Shape) *day {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	d := &day{
		rig: newRig(t, options{
			sandbox: finxtest.Options{RevokeOnReuse: true, Shape: shape},
			// A busy machine must not make more lost answers than the one meant.
			env: map[string]string{"FINX_TIMEOUT_TOKEN": "30s"},
		}),
		dice: rand.New(rand.NewPCG(seed, 1)), guests: map[string][]guest{},
	}
	d.start()
	d.start()
	d.arrive()
	d.approveAll()
	d.inject()
	d.renewWithCode()
	d.renewWithoutCode()
	d.cancelRenewal()
	d.checkDay()
	return d
}

// TestTheCallbacksOfADayReplayed plays a day with everything that happens to
// callbacks, and publishes each of them again and again, in every form and under
// ids of their own. Not one code may reach finX by that, no connection change,
// and nothing be told that has not been told.
func TestTheCallbacksOfADayReplayed(t *testing.T) {
	t.Parallel()
	d := aDay(t, finxtest.Shape{Accounts: 1, Transactions: 3})
	d.replay("in the evening")
	d.refreshAll()
	for n := range 2 {
		d.replay(fmt.Sprintf("after refreshes, %d", n+1))
	}
}

// arrive makes every link.
func (d *day) arrive() {
	causes := map[string][]string{}
	for kind, n := range guestsOfADay() {
		for i := range n {
			causes[kind] = append(causes[kind], d.send(events.TypeConnectRequested, map[string]any{
				"user_id": fmt.Sprintf("%s %d", kind, i), "redirect_uri": redirectURI,
			}))
		}
	}
	for kind, ids := range causes {
		for _, id := range ids {
			link := d.link(id)
			d.guests[kind] = append(d.guests[kind], guest{kind: kind, user: link.User, link: link})
		}
	}
}

// bodies are the forms in which upstream may publish what the browser brought.
func (d *day) bodies(back *url.URL) [3][]byte {
	q := back.Query()
	members := map[string]any{"state": q.Get("state"), "success": q.Get("success") == "true"}
	for _, name := range []string{"code", "cancel", "flow_id"} {
		if q.Has(name) {
			members[name] = q.Get(name)
		}
	}
	return [3][]byte{
		encode(d.t, callbackData(back)), encode(d.t, members),
		d.structured(events.TypeCallbackReceived, events.NewUUID(), callbackData(back)),
	}
}

// say publishes a callback under a message id of its own.
func (d *day) say(body []byte) (stream string, sequence uint64) {
	d.t.Helper()
	d.sent++
	headers := []string{events.HeaderMsgID, events.NewUUID()}
	if isStructured(body) {
		headers = append(headers, events.HeaderContentType, events.ContentTypeStructured)
	}
	return d.publish(events.TypeCallbackReceived, body, headers...)
}

func isStructured(body []byte) bool { return strings.Contains(string(body), `"specversion"`) }

// approveAll brings everybody back from the bank, in any order.
func (d *day) approveAll() {
	d.fault(finxtest.Fault{Call: "token.exchange", Times: 1, Status: http.StatusGatewayTimeout, When: "after"})
	lost := d.guests["answer lost"][0]
	d.say(d.bodies(d.approve(lost.link.Location))[0])
	d.event("the lost exchange", func(e event) bool {
		return e.Type == events.TypeConnectionFailed && e.ConnectionID == lost.link.ConnectionID && e.Reason == events.ReasonExchangeOutcomeUnknown
	})
	var turns [][][]byte // of each guest
	for _, guests := range d.guests {
		for _, g := range guests {
			if turn := d.turns(g); len(turn) > 0 {
				turns = append(turns, turn)
			}
		}
	}
	d.dice.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
	for round := 0; len(turns) > 0; round++ {
		for _, turn := range turns {
			d.say(turn[round])
		}
		turns = slices.DeleteFunc(turns, func(t [][]byte) bool { return len(t) == round+1 })
	}
	for _, kind := range []string{"plain", "repeated", "injected", "cancelled, then approved", "renewed with a code", "renewed without a code", "renewal cancelled"} {
		for _, g := range d.guests[kind] {
			d.completed(g.link.ConnectionID, 1)
		}
	}
	for kind, reason := range map[string]string{
		"cancelled": events.ReasonCancelled, "refused": events.ReasonUnsuccessful,
		"made-up code": events.ReasonCodeRejected, "late": events.ReasonCodeExpired,
	} {
		for _, g := range d.guests[kind] {
			d.event(kind, func(e event) bool {
				return e.Type == events.TypeConnectionFailed && e.ConnectionID == g.link.ConnectionID && e.Reason == reason
			})
		}
	}
}

// turns are the callbacks of one guest, in their order.
func (d *day) turns(g guest) [][]byte {
	d.t.Helper()
	location, form := g.link.Location, d.dice.IntN(3)
	switch g.kind {
	case "answer lost":
		return nil
	case "repeated":
		bodies := d.bodies(d.approve(location))
		return append(bodies[:], bodies[d.dice.IntN(3)])
	case "cancelled":
		return [][]byte{d.bodies(d.left(d.sandbox.Cancel(location)))[form]}
	case "refused":
		return [][]byte{d.bodies(d.left(d.sandbox.Fail(location)))[form]}
	case "cancelled, then approved":
		gone := url.URL{RawQuery: url.Values{"state": {g.link.State}, "success": {"false"}, "cancel": {"true"}}.Encode()}
		return [][]byte{d.bodies(&gone)[1], d.bodies(d.approve(location))[form]}
	case "made-up code":
		back := d.approve(location)
		q := back.Query()
		q.Set("code", "made-up-"+events.NewUUID())
		back.RawQuery = q.Encode()
		return [][]byte{d.bodies(back)[form]}
	case "late":
		body := d.bodies(d.approve(location))[2]
		var late map[string]any
		if err := json.Unmarshal(body, &late); err != nil {
			d.t.Fatal(err)
		}
		late["time"] = time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339)
		return [][]byte{encode(d.t, late)}
	}
	return [][]byte{d.bodies(d.approve(location))[form]}
}

// inject sends other people's codes under states that are consumed: codes
// nobody has spent, and codes somebody has.
func (d *day) inject() {
	for i, g := range d.guests["injected"] {
		location := d.guests["plain"][i].link.Location
		if i%2 == 0 {
			location = d.connect("attacker").Location
		}
		code := d.approve(location).Query().Get("code")
		stream, seq := d.say(encode(d.t, map[string]any{"state": g.link.State, "success": true, "code": code}))
		letter := d.letter(stream, seq)
		if header(letter, consumer.HeaderReason) != string(fault.Rejected) {
			d.t.Errorf("%s: %s", header(letter, consumer.HeaderReason), header(letter, consumer.HeaderError))
		}
	}
}

// renewWithCode has users take their access back, and give it again.
func (d *day) renewWithCode() {
	for _, g := range d.guests["renewed with a code"] {
		if n := d.sandbox.RevokeUser(g.user); n != 1 {
			d.t.Fatalf("%d families revoked", n)
		}
		d.renew(g, func(back *url.URL) *url.URL { return back })
	}
}

// renewWithoutCode has finX refuse living tokens for a moment, and then renew
// without a code, as it may.
func (d *day) renewWithoutCode() {
	for _, g := range d.guests["renewed without a code"] {
		d.fault(finxtest.Fault{Call: "accounts", Times: 1, Status: http.StatusUnauthorized})
		d.fault(finxtest.Fault{Call: "token.refresh", Times: 1, Status: http.StatusBadRequest, Body: `{"error":"invalid_grant"}`})
		d.renew(g, func(back *url.URL) *url.URL {
			q := back.Query()
			q.Del("code")
			return &url.URL{Scheme: "https", Host: "app.example", Path: "/callback", RawQuery: q.Encode()}
		})
	}
	d.sandbox.ClearFaults()
}

func (d *day) renew(g guest, brings func(*url.URL) *url.URL) {
	d.t.Helper()
	d.say(d.bodies(brings(d.approve(d.asked(g))))[d.dice.IntN(3)])
	d.completed(g.link.ConnectionID, 2)
}

// cancelRenewal has users take their access back and not give it again.
func (d *day) cancelRenewal() {
	for _, g := range d.guests["renewal cancelled"] {
		if n := d.sandbox.RevokeUser(g.user); n != 1 {
			d.t.Fatalf("%d families revoked", n)
		}
		d.say(d.bodies(d.left(d.sandbox.Cancel(d.asked(g))))[d.dice.IntN(3)])
		d.event("cancelled renewal", func(e event) bool {
			return e.Type == events.TypeConnectionFailed && e.ConnectionID == g.link.ConnectionID && e.Reason == events.ReasonCancelled
		})
	}
}

// asked has a fetch find the access gone, and returns the link to renew it.
func (d *day) asked(g guest) (location string) {
	d.t.Helper()
	d.send(events.TypeSyncRequested, syncData(g.link.ConnectionID))
	asked := d.event("request to authorize again", func(e event) bool {
		return e.Type == events.TypeReauthorizationRequired && e.ConnectionID == g.link.ConnectionID
	})
	d.inState(g.link.ConnectionID, connection.ReauthorizationRequired) // nobody is back sooner
	return asked.Location
}

// inState waits until the record of a connection says so.
func (r *rig) inState(connectionID string, want connection.State) {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), "finx_connections")
	if err != nil {
		r.t.Fatal(err)
	}
	natstest.Eventually(r.t, within, func() bool {
		entry, err := kv.Get(r.t.Context(), "connection."+connectionID)
		var rec connection.Record
		return err == nil && json.Unmarshal(entry.Value(), &rec) == nil && rec.State == want
	}, "connection "+string(want))
}

// checkDay holds the day itself against what it was meant to be.
func (d *day) checkDay() {
	d.settled()
	if n := len(d.callbacks()); n != d.sent {
		d.t.Errorf("%d callbacks on the stream, %d were sent", n, d.sent)
	}
	sent, most := 0, map[string]int{}
	for _, value := range d.exchanged() {
		sent++
		most[value]++
	}
	twice := 0
	for _, n := range most {
		if n > 1 {
			twice++
		}
	}
	stats, count := d.sandbox.Stats(), guestsOfADay()
	// The one whose answer was lost was sent once more, to learn whether it was spent.
	if twice != 1 || stats.CodesReused != 1 || sent != len(most)+1 {
		d.t.Errorf("%d codes were sent more than once, %d of them spent before", twice, stats.CodesReused)
	}
	connections := count["plain"] + count["repeated"] + count["injected"] + count["cancelled, then approved"] +
		count["renewed with a code"] + count["renewed without a code"] + count["renewal cancelled"]
	exchanged := connections + count["renewed with a code"] + count["answer lost"]
	if stats.CodesExchanged != exchanged || len(most) != exchanged+count["made-up code"] {
		d.t.Errorf("%d codes exchanged and %d sent, want %d and %d", stats.CodesExchanged, len(most), exchanged, exchanged+count["made-up code"])
	}
	established := map[string]bool{}
	for _, e := range d.seen.of(events.TypeConnectionEstablished, "") {
		established[e.ConnectionID] = true
	}
	if len(established) != connections {
		d.t.Errorf("%d connections established, want %d", len(established), connections)
	}
	total := 0
	for _, n := range count {
		total += n
	}
	d.t.Logf("%d connections, %d callbacks, %d token calls with a code", total, d.sent, sent)
}

// refreshAll moves the records of established connections on.
func (d *day) refreshAll() {
	d.sandbox.Advance(2 * time.Hour)
	for kind, done := range map[string]int{"plain": 1, "repeated": 1, "injected": 1, "renewed with a code": 2} {
		guests := d.guests[kind][:min(len(d.guests[kind]), 20)]
		for _, g := range guests {
			d.send(events.TypeSyncRequested, syncData(g.link.ConnectionID))
		}
		for _, g := range guests {
			d.completed(g.link.ConnectionID, done+1)
		}
	}
	if n := d.sandbox.Stats().Rotations; n < 40 {
		d.t.Fatalf("%d rotations only", n)
	}
}
