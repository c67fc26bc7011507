package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// visitor is one user, and whoever publishes for them.
type visitor struct {
	*soak
	ctx  context.Context
	dice *rand.Rand
	user string
}

// stories are what may become of a user, with how often.
func stories() []struct {
	often int
	play  func(*visitor)
} {
	return []struct {
		often int
		play  func(*visitor)
	}{
		{32, func(g *visitor) { g.plain(nil) }},
		{10, func(g *visitor) { g.plain(g.repeat) }},
		{6, func(g *visitor) { g.plain(g.inject) }},
		{5, (*visitor).revoked},
		{4, (*visitor).oversize},
		{9, func(g *visitor) { g.leaves(aCancelled, finxtest.Cancel) }},
		{8, func(g *visitor) { g.leaves(aFailed, finxtest.Fail) }},
		{4, (*visitor).late},
		{6, func(g *visitor) { g.connect(g.user) }}, // and never comes back
		{4, (*visitor).unknown},
		{5, func(g *visitor) { g.bad(events.TypeCallbackReceived, aMalformed, badCallbacks()) }},
		{4, func(g *visitor) { g.bad(events.TypeConnectRequested, aBadConnect, badConnects()) }},
		{3, func(g *visitor) { g.bad(events.TypeSyncRequested, aBadSync, badSyncs(events.NewUUID())) }},
	}
}

// play draws a story and plays it.
func (g *visitor) play() {
	all, sum := stories(), 0
	for _, s := range all {
		sum += s.often
	}
	n := g.dice.IntN(sum)
	for _, s := range all {
		if n -= s.often; n < 0 {
			s.play(g)
			return
		}
	}
}

// publish stores an input, through whatever happens to the broker.
func (g *visitor) publish(in input, typ string, body []byte, headers ...string) bool {
	msg := &nats.Msg{Subject: typ, Data: body, Header: nats.Header{events.HeaderMsgID: {in.id}}}
	for i := 0; i < len(headers); i += 2 {
		msg.Header[headers[i]] = []string{headers[i+1]}
	}
	g.ledger.expect(in)
	for g.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(g.ctx, 5*time.Second)
		ack, err := g.js.PublishMsg(ctx, msg)
		cancel()
		if err == nil {
			g.ledger.sent(in.id, ack.Stream, ack.Sequence)
			return true
		}
		wait(g.ctx, 100*time.Millisecond)
	}
	return false
}

// send publishes data, with or without an envelope of its own.
func (g *visitor) send(in input, typ string, data map[string]any) bool {
	body := marshal(data)
	if g.dice.IntN(2) == 0 {
		return g.publish(in, typ, body)
	}
	return g.enveloped(in, typ, body, time.Now())
}

func (g *visitor) enveloped(in input, typ string, data json.RawMessage, at time.Time) bool {
	body := marshal(map[string]any{
		"specversion": "1.0", "id": in.id, "source": "/upstream", "type": typ, "time": at.UTC().Format(time.RFC3339Nano), "data": data,
	})
	return g.publish(in, typ, body, events.HeaderContentType, events.ContentTypeStructured)
}

// marshal is for maps of plain values, which always encode.
func marshal(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

// pause is the time that people take.
func (g *visitor) pause(most time.Duration) { wait(g.ctx, upTo(g.dice, most)) }

func upTo(dice *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(dice.Int64N(int64(most)))
}

// connect asks for a link and waits for it.
func (g *visitor) connect(user string) (link fact, ok bool) {
	id := events.NewUUID()
	in := input{kind: aConnect, id: id, key: "event " + id}
	if !g.send(in, events.TypeConnectRequested, map[string]any{"user_id": user, "redirect_uri": redirectURI}) {
		return fact{}, false
	}
	return g.ledger.await(g.ctx, in.key)
}

// act is what the human does behind a link, after a moment.
func (g *visitor) act(link fact, action finxtest.Action) (back url.Values, ok bool) {
	g.pause(1500 * time.Millisecond)
	if g.ctx.Err() != nil {
		return nil, false
	}
	u, err := g.sandbox.Act(g.ledger.location(link), action, "")
	if err != nil {
		g.ledger.trouble(fmt.Sprintf("the link of connection %s does not open: %v", link.conn, err))
		return nil, false
	}
	return u.Query(), true
}

// back publishes what the browser brought, in one of its forms.
func (g *visitor) back(k kind, connectionID string, q url.Values) bool {
	in := input{kind: k, id: events.NewUUID(), key: "state " + q.Get("state"), conn: connectionID}
	return g.send(in, events.TypeCallbackReceived, g.form(q))
}

// form is either the URL or its parameters.
func (g *visitor) form(q url.Values) map[string]any {
	if g.dice.IntN(2) == 0 {
		return map[string]any{"callback_url": redirectURI + "?" + q.Encode()}
	}
	data := map[string]any{"state": q.Get("state"), "success": q.Get("success") == "true"}
	for _, name := range []string{"code", "cancel", "flow_id"} {
		if q.Has(name) {
			data[name] = q.Get(name)
		}
	}
	return data
}

// plain connects, comes back with a code, and has data fetched now and then.
// more is what happens beside the callback.
func (g *visitor) plain(more func(link fact, back url.Values)) (link fact, ok bool) {
	if link, ok = g.connect(g.user); !ok {
		return link, false
	}
	back, ok := g.act(link, finxtest.Approve)
	if !ok || !g.back(aGoodCallback, link.conn, back) {
		return link, false
	}
	if more != nil {
		more(link, back)
	}
	if _, ok = g.ledger.await(g.ctx, events.TypeFetchCompleted+" "+link.conn); !ok {
		return link, false
	}
	for range max(0, g.dice.IntN(5)-2) {
		g.pause(4 * time.Second)
		g.sync(link.conn)
	}
	return link, true
}

func (g *visitor) sync(connectionID string) (in input) {
	in = input{kind: aSync, id: events.NewUUID(), conn: connectionID}
	in.key = "event " + in.id
	data := map[string]any{"connection_id": connectionID}
	if g.dice.IntN(3) == 0 {
		data["full"] = true
	}
	g.send(in, events.TypeSyncRequested, data)
	return in
}

// repeat sends the callback again, at once and later.
func (g *visitor) repeat(link fact, back url.Values) {
	for range 1 + g.dice.IntN(3) {
		if g.dice.IntN(2) == 0 {
			g.pause(3 * time.Second)
		}
		g.back(aDuplicate, link.conn, back)
	}
}

// inject sends somebody else's code on a state that has been used.
func (g *visitor) inject(link fact, back url.Values) {
	if _, ok := g.ledger.await(g.ctx, "state "+back.Get("state")); !ok {
		return
	}
	theirs, ok := g.connect(g.user + "-attacker")
	if !ok {
		return
	}
	if other, ok := g.act(theirs, finxtest.Approve); ok {
		g.withheld.Add(1)
		other.Set("state", back.Get("state"))
		in := input{kind: anInjectedCode, id: events.NewUUID(), conn: link.conn}
		in.key = "letter of " + in.id
		g.send(in, events.TypeCallbackReceived, g.form(other))
	}
}

// leaves is a user who does not get through.
func (g *visitor) leaves(k kind, action finxtest.Action) {
	link, ok := g.connect(g.user)
	if !ok {
		return
	}
	if back, ok := g.act(link, action); ok {
		g.back(k, link.conn, back)
	}
}

// late is a callback that took two hours.
func (g *visitor) late() {
	link, ok := g.connect(g.user)
	if !ok {
		return
	}
	if back, ok := g.act(link, finxtest.Approve); ok {
		g.withheld.Add(1)
		in := input{kind: aLate, id: events.NewUUID(), key: "state " + back.Get("state"), conn: link.conn}
		g.enveloped(in, events.TypeCallbackReceived, marshal(g.form(back)), time.Now().Add(-2*time.Hour))
	}
}

// revoked is a user who takes the access back at the bank, and gives it again.
func (g *visitor) revoked() {
	link, ok := g.plain(nil)
	if !ok {
		return
	}
	g.ledger.revoke(link.conn, "revocation of "+link.conn)
	if n := g.sandbox.RevokeUser(g.user); n != 1 {
		g.ledger.trouble(fmt.Sprintf("%d families of %s revoked", n, g.user))
	}
	g.sync(link.conn)
	asked, ok := g.ledger.await(g.ctx, events.TypeReauthorizationRequired+" "+link.conn)
	if !ok {
		return
	}
	back, ok := g.act(asked, finxtest.Approve)
	if !ok || !g.back(aRenewal, link.conn, back) {
		return
	}
	if _, ok = g.ledger.await(g.ctx, "state "+back.Get("state")); ok {
		g.pause(time.Second)
		g.sync(link.conn)
	}
}

// oversize is a user with transactions that fit into no part.
func (g *visitor) oversize() {
	err := g.sandbox.SetUser(finxtest.User{ID: g.user, Shape: finxtest.Shape{
		Accounts: 2, Transactions: 20, HugeBytes: slices.Repeat([]int{soakOversize}, 1+g.dice.IntN(2)),
	}})
	if err != nil {
		g.ledger.trouble(err.Error())
		return
	}
	g.plain(nil)
}

// unknown is a callback on a state that nobody waits for.
func (g *visitor) unknown() {
	in := input{kind: anUnknownState, id: events.NewUUID()}
	in.key = "letter of " + in.id
	g.send(in, events.TypeCallbackReceived, map[string]any{"state": "nobody's " + in.id, "success": true, "code": plantedCode})
}

// bad sends one of the inputs that must become dead letters. The large ones, and
// those that need a link of their own, are left to the tests that are about them.
func (g *visitor) bad(typ string, k kind, all []bad) {
	all = slices.DeleteFunc(all, func(b bad) bool {
		return len(b.body) > 64<<10 || strings.Contains(b.body, waitingState) || strings.Contains(string(b.class), "unknown")
	})
	b := all[g.dice.IntN(len(all))]
	in := input{kind: k, id: events.NewUUID(), letter: b.class}
	in.key = "letter of " + in.id
	g.publish(in, typ, []byte(b.body), b.headers...)
}
