package e2e_test

import (
	"slices"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// lostAnswer is a way in which the answer of a token call does not arrive.
type lostAnswer struct {
	number, what string
	fault        finxtest.Fault
	// acted: finX had acted. whole: both tokens arrive all the same.
	acted, whole bool
}

// Tokens of a fixed length, so that an answer can be cut at a known place. Its
// members come in alphabetical order.
const (
	tokenBytes   = 40
	beforeTokens = len(`{"access_token":"`)
	betweenThem  = len(`","expires_in":3600,"refresh_token":"`)
)

var lostAnswers = []lostAnswer{
	{number: "L1", what: "504, finX had not acted", fault: finxtest.Fault{Status: 504}},
	{number: "L2", what: "504, finX had acted", fault: finxtest.Fault{Status: 504, When: "after"}, acted: true},
	{number: "L3", what: "502 with a page of HTML, finX had acted", fault: finxtest.Fault{Status: 502, When: "after", HTML: "<h1>Bad Gateway</h1>"}, acted: true},
	{number: "L4", what: "connection reset, finX had not acted", fault: finxtest.Fault{Drop: "before"}},
	{number: "L5", what: "connection reset, finX had acted", fault: finxtest.Fault{Drop: "after"}, acted: true},
	{number: "L6", what: "cut off inside the access token", fault: finxtest.Fault{Truncate: beforeTokens + tokenBytes/2}, acted: true},
	{number: "L7", what: "cut off inside the refresh token", fault: finxtest.Fault{Truncate: beforeTokens + tokenBytes + betweenThem + tokenBytes/2}, acted: true},
	{
		number: "L8", what: "cut off behind the refresh token",
		fault: finxtest.Fault{Truncate: beforeTokens + tokenBytes + betweenThem + tokenBytes + len(`","sc`)}, acted: true, whole: true,
	},
	{
		number: "L9", what: "drop by drop, past the time a call may take",
		fault: finxtest.Fault{Drip: &finxtest.Drip{Bytes: 8, Interval: finxtest.Duration(400 * time.Millisecond)}}, acted: true,
	},
}

// answerCase is a lost answer to one kind of call, at one provider.
type answerCase struct {
	lostAnswer

	kind     string
	provider provider
}

func (c answerCase) name() string { return c.kind + " " + c.number + " " + c.provider.name }

// TestLostAnswers counts what becomes of a connection when the process lives and
// finX's answer does not arrive.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	tables := map[string]*table{}
	var cases []answerCase
	for _, kind := range []string{exchange, refresh} {
		tables[kind] = newTable(t, kind+", answer lost", tableHead(kind, "the answer"))
		for _, a := range lostAnswers {
			for _, p := range providers {
				cases = append(cases, answerCase{a, kind, p})
				tables[kind].expect(a.number, a.what, p.name)
			}
		}
	}
	sideBySide(t, scenesAtOnce, cases, answerCase.name, func(t *testing.T, c answerCase) {
		got := c.play(t)
		c.check(t, got)
		tables[c.kind].add(t, c.number, c.provider.name, got.cells())
	})
	tables[exchange].done()
	tables[refresh].done()
}

func (c answerCase) play(t *testing.T) tally {
	c.provider.sandbox.AccessTokenBytes, c.provider.sandbox.RefreshTokenBytes = tokenBytes, tokenBytes
	s := newScene(t, c.kind, c.provider, staging{})
	s.env["FINX_BASE_URL"] = s.base // past the gate, which would keep what comes in pieces
	s.launch("")
	s.prepare()
	c.fault.Call, c.fault.Times = "token."+c.kind, 1
	s.fault(c.fault)
	s.trigger()
	s.outcome()
	for _, f := range s.sandbox.Faults() {
		if f.Hits != 1 {
			t.Errorf("the fault hit %d times", f.Hits)
		}
	}
	return s.tally(false)
}

// check holds a tally to what is promised, whatever the table says.
func (c answerCase) check(t *testing.T, got tally) {
	t.Helper()
	want := 0
	if c.acted && !c.whole && c.provider.name != withGrace {
		want = 1
	}
	if got.lost != want {
		t.Errorf("lost %d, want %d", got.lost, want)
	}
	checkTold(t, c.kind, got)
	if calls := map[bool]int{false: 2, true: 1}[c.whole]; got.calls != calls || got.effects != 1 {
		t.Errorf("%d calls and %d tokens handed out, want %d and one", got.calls, got.effects, calls)
	}
}

// checkTold looks for silence: a loss must be said to be one, and without one
// the work must have been done.
func checkTold(t *testing.T, kind string, got tally) {
	t.Helper()
	told := got.says(events.TypeConnectionFailed, events.ReasonExchangeOutcomeUnknown)
	if kind == refresh {
		told = got.says(events.TypeReauthorizationRequired, events.ReasonRotationOutcomeUnknown)
	}
	if told != (got.lost > 0) {
		t.Errorf("%d lost, and said is %v", got.lost, got.published)
	}
	if got.lost == 0 && !slices.Contains(got.published, label(events.TypeFetchCompleted, "")) {
		t.Errorf("nothing is lost, and no fetch is completed: %v", got.published)
	}
}
