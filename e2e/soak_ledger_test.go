package e2e_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// kind is a row of the ledger.
type kind string

// What goes in. The last three come from the connector itself.
const (
	aConnect        kind = "connect"
	aBadConnect     kind = "connect, bad"
	aGoodCallback   kind = "callback, good"
	aCancelled      kind = "callback, cancelled"
	aFailed         kind = "callback, failed at the bank"
	aDuplicate      kind = "callback, duplicate"
	anInjectedCode  kind = "callback, injected code"
	anUnknownState  kind = "callback, unknown state"
	aMalformed      kind = "callback, malformed"
	aLate           kind = "callback, late"
	aRenewal        kind = "callback, renewal"
	aRevocation     kind = "access revoked at the bank"
	aSync           kind = "sync, by upstream"
	aBadSync        kind = "sync, bad"
	aFirstSync      kind = "sync, after a callback"
	aTimerSync      kind = "sync, by timer"
	anOversizeEntry kind = "transaction too large for a part"
)

// rule is what an input of a kind may come to.
type rule struct {
	kind   kind
	ends   []string    // what outputs end it, see fact.says
	letter fault.Class // the class of dead letter that is its proper end
	silent bool        // it is settled without a word
	// ended are further ends, and silence, for a connection whose access was revoked.
	ended []string
}

// rules are the rows, in the order of the table.
func rules() []rule {
	const noTokens, refused = "fetch failed: not_established", "fetch failed: reauthorization_required"
	return []rule{
		{kind: aConnect, ends: []string{"link"}},
		{kind: aBadConnect, letter: fault.Malformed},
		{kind: aGoodCallback, ends: []string{"established"}},
		{kind: aCancelled, ends: []string{"failed: " + events.ReasonCancelled}},
		{kind: aFailed, ends: []string{"failed: " + events.ReasonUnsuccessful}},
		{kind: aDuplicate, silent: true},
		{kind: anInjectedCode, letter: fault.Rejected},
		{kind: anUnknownState, letter: fault.UnknownState},
		{kind: aMalformed, letter: fault.Malformed},
		{kind: aLate, ends: []string{"failed: " + events.ReasonCodeExpired}},
		{kind: aRenewal, ends: []string{"established"}},
		// A refresh whose answer was lost just before cannot be told from a lost rotation.
		{kind: aRevocation, ends: []string{"asked: " + events.ReasonRefreshRejected, "asked: " + events.ReasonRotationOutcomeUnknown}},
		{kind: aSync, ends: []string{"completed"}, ended: []string{refused, noTokens}},
		{kind: aBadSync, letter: fault.Malformed},
		{kind: aFirstSync, ends: []string{"completed"}, ended: []string{refused, noTokens}},
		{kind: aTimerSync, ends: []string{"completed"}, ended: []string{refused, noTokens}},
		{kind: anOversizeEntry, ends: []string{"object"}},
	}
}

// input is one thing that has to come to an end.
type input struct {
	kind     kind
	id       string // of the event
	key      string // what the outputs that end it carry, see fact.keys
	conn     string // its connection, where it matters
	stream   string // where it is stored; empty for what happens elsewhere
	sequence uint64
	letter   fault.Class // of its proper dead letter, where not that of its kind
}

// fact is what the connector said, each event once.
type fact struct {
	id, typ, cause, state, conn, user, reason, detail string
	at                                                time.Time
}

// says is the output in a word, as the rules name it.
func (o fact) says() string {
	switch o.typ {
	case events.TypeWidgetLinkCreated:
		return "link"
	case events.TypeConnectionEstablished:
		return "established"
	case events.TypeConnectionFailed:
		return "failed: " + o.reason
	case events.TypeReauthorizationRequired:
		return "asked: " + o.reason
	case events.TypeFetchCompleted:
		return "completed"
	case events.TypeFetchFailed:
		return "fetch failed: " + o.reason
	}
	return o.typ
}

// key is what an input must have for this output to end it. A callback is found
// by its state, because of two copies either may be the one that is handled.
func (o fact) key() string {
	switch o.typ {
	case events.TypeConnectionEstablished, events.TypeConnectionFailed:
		return "state " + o.state
	case events.TypeReauthorizationRequired:
		return "access " + o.conn
	}
	return "event " + o.cause
}

// place is where a message is stored.
type place struct {
	stream   string
	sequence uint64
}

// deadLetter is what became of the message at a place.
type deadLetter struct{ class, text string }

// ledger holds what went in and what came out, to be balanced at the end. It is
// safe for concurrent use.
type ledger struct {
	mu      sync.Mutex
	inputs  map[string]input // by id
	order   []string         // of inputs
	outputs map[string]fact
	said    []string       // ids of outputs
	copies  map[string]int // of outputs and the connector's requests, stored more than once under one id
	letters map[place]deadLetter
	stored  map[place]time.Time // when callbacks were stored
	revoked map[string]bool     // connections whose access was taken back
	latest  map[string]fact     // by topic, see await
	waiting map[string][]chan fact
	links   map[string]string // location of a link, by the id of its event
	faults  []string          // what could not be read, and other trouble of the observation
}

func newLedger() *ledger {
	return &ledger{
		inputs: map[string]input{}, outputs: map[string]fact{}, copies: map[string]int{}, letters: map[place]deadLetter{},
		stored: map[place]time.Time{}, revoked: map[string]bool{}, latest: map[string]fact{}, waiting: map[string][]chan fact{}, links: map[string]string{},
	}
}

// expect notes an input. It is called before the input is sent, because what
// comes of it may be seen before the sending has returned.
func (l *ledger) expect(in input) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, twice := l.inputs[in.id]; twice {
		l.copies[in.id]++
		return
	}
	l.inputs[in.id] = in
	l.order = append(l.order, in.id)
}

// sent notes where an input is stored.
func (l *ledger) sent(id, stream string, sequence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in := l.inputs[id]
	in.stream, in.sequence = stream, sequence
	l.inputs[id] = in
}

// revoke notes that a connection has lost its access at the bank.
func (l *ledger) revoke(connectionID, id string) {
	l.expect(input{kind: aRevocation, id: id, key: "access " + connectionID, conn: connectionID})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revoked[connectionID] = true
}

// say notes an output. location is that of a link, empty for the others.
func (l *ledger) say(o fact, location string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, twice := l.outputs[o.id]; twice {
		l.copies[o.id]++
		return
	}
	l.outputs[o.id] = o
	l.said = append(l.said, o.id)
	l.links[o.id] = location
	for _, topic := range []string{o.key(), o.typ + " " + o.conn} {
		l.latest[topic] = o
		for _, c := range l.waiting[topic] {
			c <- o // has room for the one that it gets
		}
		delete(l.waiting, topic)
	}
}

// await waits for an output on a topic: its key, or its type and connection.
func (l *ledger) await(ctx context.Context, topic string) (fact, bool) {
	l.mu.Lock()
	o, ok := l.latest[topic]
	c := make(chan fact, 1)
	if !ok {
		l.waiting[topic] = append(l.waiting[topic], c)
	}
	l.mu.Unlock()
	if ok {
		return o, true
	}
	select {
	case o = <-c:
		return o, true
	case <-ctx.Done():
		return fact{}, false
	}
}

// location returns where the link of an output leads.
func (l *ledger) location(o fact) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[o.id]
}

// bury notes a dead letter.
func (l *ledger) bury(at place, letter deadLetter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.letters[at] = letter
}

// trouble notes that something could not be observed as it should.
func (l *ledger) trouble(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, text)
}

// keep notes when a callback was stored.
func (l *ledger) keep(at place, when time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored[at] = when
}

// sorted returns all inputs in the order they came, and all outputs in theirs.
func (l *ledger) sorted() (in []input, out []fact) {
	for _, id := range l.order {
		in = append(in, l.inputs[id])
	}
	for _, id := range l.said {
		out = append(out, l.outputs[id])
	}
	return in, out
}

// count returns how many outputs of a type there are.
func (l *ledger) count(typ string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.outputs {
		if o.typ == typ {
			n++
		}
	}
	return n
}

// inputsOf returns the inputs of some kinds.
func (l *ledger) inputsOf(kinds ...kind) (out []input) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range l.order {
		if in := l.inputs[id]; slices.Contains(kinds, in.kind) {
			out = append(out, in)
		}
	}
	return out
}
