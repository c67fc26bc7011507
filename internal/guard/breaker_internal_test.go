package guard

import "testing"

func newBreaker() *breaker {
	return &breaker{lim: lim, failures: 1, holder: "a", shares: true, several: func() bool { return false }}
}

// What the watch tells late does not undo what this process has stored since.
func TestOlderNewsAreIgnored(t *testing.T) {
	b := newBreaker()
	open := state{Kind: kindAway, OpenUntil: at(1), Since: at(0), Trips: 1, By: "b"}
	b.learn(at(0), open, 7)
	for revision, stored := range map[uint64]state{6: {}, 7: {}} {
		if b.learn(at(0), stored, revision); b.common != open {
			t.Errorf("revision %d, of before, counts", revision)
		}
	}
	if b.deleted(6); b.common != open {
		t.Error("a deletion of before counts")
	}
	if b.learn(at(0), state{}, 8); b.common.isOpen() {
		t.Error("revision 8 does not count")
	}
}

// An opening that could not be shared yet is younger than a deletion.
func TestADeletionLeavesWhatNobodyKnowsYet(t *testing.T) {
	b := newBreaker()
	b.learn(at(0), state{ClosedAt: at(-9)}, 1)
	b.answer(at(0), call{observed: true}, Answer{Kind: Throttled, Until: at(7200)})
	b.settle(at(0))
	b.deleted(2)
	if b.settle(at(0)); !b.cur.OpenUntil.Equal(at(7200)) || b.wish == nil {
		t.Errorf("forgotten: %+v", b.cur)
	}
	next, changed := b.wish.change(at(1), state{})
	if !changed || !next.OpenUntil.Equal(at(7200)) {
		t.Errorf("to be told: %+v", next)
	}
	b.told(b.wish, at(1), next, 3)
	b.deleted(4)
	if b.settle(at(1)); b.cur.isOpen() {
		t.Errorf("what was known to all survived: %+v", b.cur)
	}
}

// A process that is overruled keeps to itself what it finds, as long as that lasts,
// but not what the server says to everybody.
func TestOverruled(t *testing.T) {
	b := newBreaker()
	away := Answer{Kind: Away, Why: "no route"}
	b.learn(at(0), state{Overruled: "a", ClosedAt: at(0)}, 1)
	for i, now := range []float64{1, 200, 400, 600} { // longer than it lasts by itself
		b.answer(at(now), call{observed: true}, away)
		b.settle(at(now))
		if !b.cur.isOpen() || b.wish != nil || b.cur.Trips != i+1 {
			t.Errorf("after %v s: %+v, a wish: %v", now, b.cur, b.wish != nil)
		}
	}
	b.answer(at(601), call{observed: true}, Answer{Kind: Throttled, Until: at(7200)})
	if b.wish == nil || b.alone {
		t.Error("what the server says to everybody stays here")
	}

	b = newBreaker()
	b.learn(at(0), state{Overruled: "a", ClosedAt: at(0)}, 1)
	b.answer(at(301), call{observed: true}, away)
	if b.wish == nil {
		t.Error("after five minutes its openings stay here still")
	}
	b = newBreaker()
	b.learn(at(0), state{Overruled: "b", ClosedAt: at(0)}, 1)
	b.answer(at(1), call{observed: true}, away)
	if b.wish == nil {
		t.Error("it was another who was overruled")
	}
}

// A closing is about one episode: one that began meanwhile stays.
func TestAClosingIsOfOneEpisode(t *testing.T) {
	b := newBreaker()
	one := state{Kind: kindAway, OpenUntil: at(1), Since: at(0), Trips: 1, By: "b"}
	b.learn(at(0), one, 1)
	b.settle(at(0))
	b.answer(at(1), call{epoch: b.epoch}, Answer{Kind: Alive})
	b.settle(at(1))
	if b.cur.isOpen() || b.wish == nil {
		t.Fatalf("it is open: %+v", b.cur)
	}
	longer := one
	longer.Kind, longer.OpenUntil = kindThrottled, at(60)
	another := one
	another.Since = at(0.5)
	for _, stored := range []state{{}, longer, another} {
		if next, changed := b.wish.change(at(1), stored); changed || next != stored {
			t.Errorf("closed %+v", stored)
		}
	}
	if next, changed := b.wish.change(at(1), one); !changed || next.isOpen() || next.Overruled != "b" {
		t.Errorf("left open: %+v", next)
	}
}

// What is still to be written is not undone by what was stored before.
func TestAClosingThatIsStillToBeToldHolds(t *testing.T) {
	b := newBreaker()
	open := state{Kind: kindAway, OpenUntil: at(1), Since: at(0), Trips: 1, By: "b"}
	b.learn(at(0), open, 1)
	b.settle(at(0))
	b.answer(at(1), call{observed: true}, Answer{Kind: Alive})
	b.settle(at(1))
	claimed := open
	claimed.Prober, claimed.ProbeUntil = "c", at(30)
	b.learn(at(1), claimed, 2)
	if b.settle(at(1)); b.cur.isOpen() {
		t.Errorf("another's probe of the episode that was closed opened it: %+v", b.cur)
	}
	later := open
	later.Since, later.OpenUntil = at(2), at(3)
	b.learn(at(2), later, 3)
	if b.settle(at(2)); !b.cur.isOpen() {
		t.Error("a later episode is not heard of")
	}
}

// An opening that could not be told for a while is void when another found the
// server working meanwhile; a time that the server named is not.
func TestAnOpeningThatIsToldLate(t *testing.T) {
	for _, c := range []struct {
		name   string
		found  Answer
		stored state
		opens  bool
	}{
		{"closed since", Answer{Kind: Away}, state{ClosedAt: at(5)}, false},
		{"closed before", Answer{Kind: Away}, state{ClosedAt: at(-5)}, true},
		{"never closed", Answer{Kind: Away}, state{}, true},
		{"closed since, but the server named a time", Answer{Kind: Throttled, Until: at(60)}, state{ClosedAt: at(5)}, true},
		{"closed since, and the time is over", Answer{Kind: Throttled, Until: at(8)}, state{ClosedAt: at(5)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBreaker()
			b.answer(at(0), call{observed: true}, c.found)
			b.settle(at(0))
			w := b.wish
			next, changed := w.apply(at(10), c.stored, true, b.holder)
			if changed != c.opens || next.isOpen() != c.opens {
				t.Errorf("stored: %+v", next)
			}
			b.told(w, at(10), next, 1)
			if b.settle(at(10)); b.cur.isOpen() != c.opens || b.wish != nil {
				t.Errorf("here: %+v", b.cur)
			}
		})
	}
}

// Of a probation that the others come to know nothing stays here: one of them may
// end it. What this one ended before it could tell of it is ended in one step.
func TestAProbationIsOfAll(t *testing.T) {
	asks := Answer{Kind: Alive}
	b := newBreaker()
	b.answer(at(0), call{observed: true}, Answer{Kind: Away, Why: "no route"})
	b.settle(at(0))
	opened, changed := b.wish.change(at(0), state{}) // stored, and the answer is lost
	if !changed {
		t.Fatal("nothing to tell")
	}
	b.answer(at(1), call{observed: true, asks: true}, asks)
	b.settle(at(1))
	if !b.cur.isOnProbation() || b.wish == nil {
		t.Fatalf("not on probation: %+v", b.cur)
	}
	b.learn(at(1), opened, 1)
	if b.settle(at(1)); !b.cur.isOnProbation() || b.own != (state{}) {
		t.Errorf("%+v, own %+v", b.cur, b.own)
	}
	told, changed := b.wish.change(at(1), opened)
	if !changed || !told.isOnProbation() {
		t.Errorf("to be told: %+v", told)
	}
	b.answer(at(2), call{observed: true}, asks)
	if b.settle(at(2)); b.cur.isOnProbation() {
		t.Errorf("after a call: %+v", b.cur)
	}
	for name, stored := range map[string]state{"open": opened, "on probation": told} {
		if next, changed := b.wish.change(at(2), stored); !changed || next.isOpen() || next.isOnProbation() {
			t.Errorf("stored %s: %+v", name, next)
		}
	}
	later := told
	later.Since = at(1.5)
	if _, changed := b.wish.change(at(2), later); changed {
		t.Error("it ends the probation of a later episode")
	}
	b.told(b.wish, at(2), told.closed(at(2), "b", false), 2)
	if b.settle(at(2)); b.cur.isOnProbation() || b.wish != nil {
		t.Errorf("told: %+v", b.cur)
	}
}

// Who was overruled goes on counting where the probation began.
func TestOverruledOnProbation(t *testing.T) {
	b := newBreaker()
	b.learn(at(0), state{Kind: kindAway, Since: at(-9), Trips: 3, By: "a", Overruled: "a", ClosedAt: at(0)}, 1)
	for trips := 4; trips < 7; trips++ {
		b.settle(at(1))
		b.answer(at(1), call{epoch: b.epoch}, Answer{Kind: Away})
		if b.settle(at(1)); !b.cur.isOpen() || b.cur.Trips != trips || b.wish != nil {
			t.Errorf("%+v, want %d trips of its own", b.cur, trips)
		}
		b.answer(at(60), call{epoch: b.epoch, asks: true}, Answer{Kind: Alive})
	}
	b.settle(at(61))
	b.answer(at(61), call{epoch: b.epoch}, Answer{Kind: Alive})
	if b.settle(at(61)); b.cur.isOpen() || b.cur.isOnProbation() {
		t.Errorf("after a call: %+v", b.cur)
	}
}
