package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// entry is one input of each kind with what properly comes of it.
type entry struct {
	in     input
	out    []fact
	letter *deadLetter
}

// sample is a ledger's worth of entries, in the order of the rules.
func sample() (all []entry) {
	for i, r := range rules() {
		id := fmt.Sprintf("id-%d", i)
		in := input{kind: r.kind, id: id, key: "event " + id, conn: "conn-" + id, stream: "S", sequence: uint64(i + 1)}
		o := fact{id: "of " + id, cause: id, conn: in.conn}
		e := entry{in: in}
		if len(r.ends) > 0 {
			switch what, reason, _ := strings.Cut(r.ends[0], ": "); what {
			case "link":
				o.typ = events.TypeWidgetLinkCreated
			case "completed":
				o.typ = events.TypeFetchCompleted
			case "established", "failed":
				o.typ, o.reason, o.state = map[string]string{"established": events.TypeConnectionEstablished, "failed": events.TypeConnectionFailed}[what], reason, id
				e.in.key = "state " + id
			case "asked":
				o.typ, o.reason = events.TypeReauthorizationRequired, reason
				e.in.key, e.in.stream = "access "+in.conn, ""
			default:
				o.typ = what
			}
			e.out = []fact{o}
		}
		if r.letter != "" {
			e.in.key, e.letter = "letter of "+id, &deadLetter{class: string(r.letter)}
		}
		all = append(all, e)
	}
	return all
}

// ledgerOf writes entries down.
func ledgerOf(all []entry) *ledger {
	l := newLedger()
	for _, e := range all {
		l.expect(e.in)
		for _, o := range e.out {
			l.say(o, "")
		}
		if e.letter != nil {
			l.bury(place{e.in.stream, e.in.sequence}, *e.letter)
		}
	}
	return l
}

func TestLedgerBalances(t *testing.T) {
	b := ledgerOf(sample()).add(nil)
	if len(b.problems) > 0 {
		t.Errorf("%q\n%s", b.problems, b)
	}
	if text := b.String(); strings.Contains(text, "≠") || !strings.Contains(text, "1 established") {
		t.Errorf("\n%s", text)
	}
	for _, row := range b.lines {
		if row.inputs != 1 || row.outputs+row.silent+row.letters != 1 {
			t.Errorf("row %+v", row)
		}
	}
}

// TestLedgerMissesWhatIsGone takes away what came of one input after the other.
func TestLedgerMissesWhatIsGone(t *testing.T) {
	for i, e := range sample() {
		if e.out == nil && e.letter == nil {
			continue // settled without a word: nothing can be taken away
		}
		t.Run(string(e.in.kind), func(t *testing.T) {
			all := sample()
			all[i].out, all[i].letter = nil, nil
			b := ledgerOf(all).add(nil)
			if len(b.problems) != 1 || !strings.Contains(b.problems[0], e.in.id) || !strings.HasPrefix(b.problems[0], string(e.in.kind)+": nothing came") {
				t.Errorf("problems %q, want one that names %s", b.problems, e.in.id)
			}
			if row := b.lines[i]; row.missing != 1 || !strings.Contains(b.String(), "≠") {
				t.Errorf("row %+v", row)
			}
			held := ledgerOf(all).add(func(in input) bool { return in.id == e.in.id })
			if len(held.problems) != 0 || held.lines[i].open != 1 {
				t.Errorf("held by the broker: %q, row %+v", held.problems, held.lines[i])
			}
		})
	}
}

// TestLedgerSeesWhatShouldNotBe puts something wrong into an otherwise good ledger.
func TestLedgerSeesWhatShouldNotBe(t *testing.T) {
	at := func(all []entry, k kind) *entry {
		return &all[slices.IndexFunc(all, func(e entry) bool { return e.in.kind == k })]
	}
	for _, c := range []struct {
		name, want string
		spoil      func(all []entry)
	}{
		{"the same under two ids", "came to 2 ends", func(all []entry) {
			e := at(all, aGoodCallback)
			again := e.out[0]
			again.id = "another"
			e.out = append(e.out, again)
		}},
		{"another end", "came to this: failed: " + events.ReasonExchangeOutcomeUnknown, func(all []entry) {
			o := &at(all, aGoodCallback).out[0]
			o.typ, o.reason = events.TypeConnectionFailed, events.ReasonExchangeOutcomeUnknown
		}},
		{"a failed fetch without a revocation", "came to this: fetch failed: not_established", func(all []entry) {
			o := &at(all, aSync).out[0]
			o.typ, o.reason = events.TypeFetchFailed, "not_established"
		}},
		{"a dead letter of a good input", "is a dead letter of class exhausted", func(all []entry) {
			at(all, aConnect).out, at(all, aConnect).letter = nil, &deadLetter{class: string(fault.Exhausted)}
		}},
		{"a dead letter of another class", "is a dead letter of class outage", func(all []entry) {
			at(all, anInjectedCode).letter.class = string(fault.Outage)
		}},
		{"a connection out of nothing", "follows from no input", func(all []entry) {
			at(all, anInjectedCode).out = []fact{{id: "x", typ: events.TypeConnectionEstablished, state: "stolen"}}
		}},
		{"a user sent back to the bank for nothing", "follows from no input", func(all []entry) {
			at(all, aTimerSync).out = append(at(all, aTimerSync).out, fact{id: "x", typ: events.TypeReauthorizationRequired, conn: "c", reason: events.ReasonRotationOutcomeUnknown})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := sample()
			c.spoil(all)
			b := ledgerOf(all).add(nil)
			if len(b.problems) != 1 || !strings.Contains(b.problems[0], c.want) {
				t.Errorf("problems %q, want one with %q", b.problems, c.want)
			}
		})
	}
}

// TestLedgerCountsCopiesOnce: the same event stored twice is no second end.
func TestLedgerCountsCopiesOnce(t *testing.T) {
	all := sample()
	for i := range all {
		all[i].out = append(all[i].out, all[i].out...)
	}
	l := ledgerOf(all)
	if b := l.add(nil); len(b.problems) != 0 || len(l.copies) == 0 {
		t.Errorf("%d copies, problems %q", len(l.copies), b.problems)
	}
}

// TestARevokedConnectionMayFail is what only a revocation allows.
func TestARevokedConnectionMayFail(t *testing.T) {
	l := newLedger()
	l.revoke("c", "r")
	l.say(fact{id: "o", typ: events.TypeReauthorizationRequired, conn: "c", reason: events.ReasonRefreshRejected}, "")
	l.expect(input{kind: aSync, id: "s", key: "event s", conn: "c"})
	l.say(fact{id: "f", typ: events.TypeFetchFailed, cause: "s", conn: "c", reason: "not_established"}, "")
	l.expect(input{kind: aTimerSync, id: "t", key: "event t", conn: "c"})
	completed := fact{typ: events.TypeFetchCompleted, conn: "c"}
	failed := fact{typ: events.TypeFetchFailed, conn: "c", reason: "reauthorization_required"}
	for id, ends := range map[string][]fact{"u": {completed, failed}, "v": {failed, completed}} {
		l.expect(input{kind: aFirstSync, id: id, key: "event " + id, conn: "c"})
		for _, o := range ends {
			o.id, o.cause = id+o.typ, id
			l.say(o, "")
		}
	}
	if b := l.add(nil); len(b.problems) != 0 {
		t.Errorf("%q", b.problems)
	}
	l.revoked["c"] = false
	if b := l.add(nil); len(b.problems) != 6 { // three fetches that failed, two of them completed as well, and a timer without an end
		t.Errorf("%q", b.problems)
	}
}

// TestTheSameSeedIsTheSamePlan: what is drawn depends on the seed alone.
func TestTheSameSeedIsTheSamePlan(t *testing.T) {
	draw := func(seed uint64) (names []string) {
		for _, p := range plan(diceOf(seed), time.Minute, pace{5 * time.Second, 5 * time.Second}) {
			names = append(names, fmt.Sprint(p.at, p.name, p.length))
		}
		return names
	}
	one := draw(1)
	if !slices.Equal(one, draw(1)) || slices.Equal(one, draw(2)) || len(one) < 10 {
		t.Errorf("%d troubles, or another plan than before", len(one))
	}
	busy := map[string]time.Duration{}
	for _, p := range plan(diceOf(1), time.Minute, pace{5 * time.Second, 5 * time.Second}) {
		if p.at < busy[p.on] || p.at+p.length > time.Minute {
			t.Errorf("%s at %s for %s", p.name, p.at, p.length)
		}
		busy[p.on] = p.at + p.length
	}
}
