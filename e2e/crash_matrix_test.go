package e2e_test

import (
	"slices"
	"testing"
)

// scenesAtOnce is how many installations wait side by side.
const scenesAtOnce = 32

// crashCase is one cell block of the matrix.
type crashCase struct {
	crash

	provider provider
}

func (c crashCase) name() string { return c.kind + " " + c.number + " " + c.provider.name }

// TestCrashMatrix kills the real program at every moment of an exchange and of a
// refresh, lets another process take over, and counts. docs/custody.md has the
// counts; -update writes them there.
func TestCrashMatrix(t *testing.T) {
	t.Parallel()
	tables := map[string]*table{}
	var cases []crashCase
	for _, kind := range []string{exchange, refresh} {
		tables[kind] = newTable(t, kind+", killed", tableHead(kind, "killed when"))
		for _, c := range crashes(kind) {
			for _, p := range providers {
				cases = append(cases, crashCase{c, p})
				tables[kind].expect(c.number, c.what, p.name)
			}
		}
	}
	sideBySide(t, scenesAtOnce, cases, crashCase.name, func(t *testing.T, c crashCase) {
		got := c.play(t, c.provider, staging{})
		c.check(t, got)
		tables[c.kind].add(t, c.number, c.provider.name, got.cells())
	})
	tables[exchange].done()
	tables[refresh].done()
}

// play kills one process at the moment, or several one after the other, and
// lets the next one end the story.
func (c crash) play(t *testing.T, p provider, with staging) tally {
	s := newScene(t, c.kind, p, with)
	v := &victim{}
	v.now.Store(s.launch(c.arms(0)))
	s.prepare()
	over := func() {}
	if c.trouble != nil {
		over = c.trouble(s)
	}
	fired := c.gated(s, v)
	s.trigger()
	for n := range c.deaths() {
		if n > 0 {
			fired = c.gated(s, v)
			v.now.Store(s.launch(c.arms(n)))
		}
		fired()
		s.dies(v.now.Load(), c.arms(n))
		over()
		if c.elsewhere {
			s.env["ESCROW_DIR"] = t.TempDir()
		}
	}
	if c.rival {
		s.launchElsewhere()
	}
	s.launch("")
	s.outcome()
	return s.tally(c.ended)
}

// deaths is how many processes die.
func (c crash) deaths() int {
	if c.gate == nil {
		return len(c.points)
	}
	return max(1, c.gates)
}

func (c crash) gated(s *scene, v *victim) (fired func()) {
	if c.gate == nil {
		return func() {}
	}
	return c.gate(s, v)
}

// twice is the same with the successor killed at the same moment.
func (c crash) twice() crash {
	c.points, c.gates = append(slices.Clone(c.points), c.points...), 2
	return c
}

// arms is what the n-th process dies at, from 0.
func (c crash) arms(n int) string {
	if n >= len(c.points) {
		return ""
	}
	return c.points[n] + "=kill"
}

// check holds a tally to what is promised, whatever the table says.
func (c crashCase) check(t *testing.T, got tally) {
	t.Helper()
	if got.lost > 0 && (!c.window || c.provider.name == withGrace) {
		t.Errorf("tokens lost: %v", got.cells())
	}
	if !c.ended {
		checkTold(t, c.kind, got)
	}
	if got.effects > 1 || c.ended && got.effects > 0 {
		t.Errorf("finX handed out %d times", got.effects)
	}
	if !c.window && (got.reuses > 0 || got.families > 0) {
		t.Errorf("%d reuses, %d families revoked", got.reuses, got.families)
	}
}
