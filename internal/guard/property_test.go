package guard_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// phase is how the server is for a while.
type phase struct {
	kind  guard.Kind
	named time.Duration // of Throttled; 0: no time
	lasts time.Duration
	takes time.Duration
	store bool // can be asked
}

func drawPhase(t *rapid.T) phase {
	seconds := func(name string, from, to int) time.Duration {
		return time.Duration(rapid.IntRange(from, to).Draw(t, name)) * time.Second
	}
	return phase{
		kind:  rapid.SampledFrom([]guard.Kind{guard.Alive, guard.Away, guard.Throttled, guard.Unknown}).Draw(t, "kind"),
		named: seconds("named", 0, 300), lasts: seconds("lasts", 1, 300), takes: seconds("takes", 0, 20),
		store: rapid.IntRange(0, 9).Draw(t, "store") > 0,
	}
}

// witness is a server that looks for what must never be: a call that goes out
// although the server named a later time to anybody, and two probes at once.
type witness struct {
	mu     sync.Mutex
	now    phase
	until  time.Time // the latest that was named
	toldAt time.Time
	wrong  []string
	probes map[time.Time]int // under way, by episode: one of an earlier one is no probe any more
}

// call answers one call as the phase is in which it ends.
func (w *witness) call(probes bool, episode time.Time) guard.Answer {
	w.mu.Lock()
	at := time.Now()
	// In the moment in which somebody is told, others may go out still.
	if at.After(w.toldAt) && at.Before(w.until) {
		w.wrong = append(w.wrong, fmt.Sprintf("a call went out %v too early", w.until.Sub(at)))
	}
	if probes {
		if w.probes[episode]++; w.probes[episode] > 1 {
			w.wrong = append(w.wrong, fmt.Sprintf("%d probes at once", w.probes[episode]))
		}
	}
	takes := w.now.takes
	w.mu.Unlock()
	time.Sleep(takes)
	w.mu.Lock()
	defer w.mu.Unlock()
	if probes {
		w.probes[episode]--
	}
	a := guard.Answer{Kind: w.now.kind, Why: "as drawn"}
	if a.Kind == guard.Throttled && w.now.named > 0 {
		a.Until = time.Now().Add(w.now.named)
		if a.Until.After(w.until) {
			w.until = a.Until
		}
		w.toldAt = time.Now()
	}
	return a
}

func (w *witness) enter(p phase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = p
}

// Whatever the server does for however long: nobody asks before the time it named,
// there is one probe at a time over all replicas, and once it works again, and
// somebody calls, it closes for all. Where the store is away for a while the first
// two hold for each replica. Who was overruled once probes for itself.
func TestWhateverTheServerDoes(t *testing.T) {
	rapid.Check(t, func(drawn *rapid.T) {
		replicas := rapid.IntRange(1, 3).Draw(drawn, "replicas")
		phases := rapid.SliceOfN(rapid.Custom(drawPhase), 1, 8).Draw(drawn, "phases")
		var wrong []string
		synctest.Test(t, func(t *testing.T) { wrong = live(t, replicas, phases) })
		for _, what := range wrong {
			drawn.Error(what)
		}
	})
}

// live runs replicas through the phases and returns what was wrong.
func live(t *testing.T, replicas int, phases []phase) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var (
		witnesses = []*witness{{now: phase{kind: guard.Alive}, probes: map[time.Time]int{}}}
		store     = newMemory()
		all       []*guard.Guard
		wg        sync.WaitGroup
	)
	together := !slices.ContainsFunc(phases, func(p phase) bool { return !p.store })
	for i := range replicas {
		g, err := guard.New(guard.Config{
			Name: "finx", Holder: fmt.Sprint(i), Shared: store, Failures: 2, Concurrency: 3,
			Replicas: func() int { return replicas }, Probe: time.Minute,
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
		w := witnesses[len(witnesses)-1]
		if i > 0 && !together {
			w = &witness{now: w.now, probes: map[time.Time]int{}}
			witnesses = append(witnesses, w)
		}
		wg.Go(func() { g.Run(ctx) })
		for range 4 {
			wg.Go(func() {
				callUntil(ctx, g, w, func() bool { return store.wrote(fmt.Sprintf(`"overruled":"%d"`, i)) })
			})
		}
	}
	for _, p := range append(phases, phase{kind: guard.Alive, store: true}) {
		store.fail(!p.store, false)
		for _, w := range witnesses {
			w.enter(p)
		}
		sleep(ctx, p.lasts)
	}
	// The longest that was named, a call that hangs, the longest wait, a probe.
	sleep(ctx, 300*time.Second+20*time.Second+2*time.Minute)
	var wrong []string
	for i, g := range all {
		if st := g.Status(); st.Open {
			wrong = append(wrong, fmt.Sprintf("replica %d is open although the server works: %+v", i, st))
		}
	}
	cancel()
	wg.Wait()
	for _, w := range witnesses {
		wrong = append(wrong, w.wrong...)
	}
	return wrong
}

// callUntil keeps calling until ctx ends, and comes back when it is told to.
func callUntil(ctx context.Context, g *guard.Guard, w *witness, overruled func() bool) {
	for ctx.Err() == nil {
		before := g.Status()
		end, err := g.Begin(ctx, guard.Page)
		if until, ok := fault.Until(err); ok {
			if !until.After(time.Now()) && !errors.Is(err, context.Canceled) {
				w.mu.Lock()
				w.wrong = append(w.wrong, fmt.Sprintf("told to come back at once: %v", err))
				w.mu.Unlock()
			}
			sleep(ctx, max(time.Until(until), time.Millisecond))
			continue
		}
		after := g.Status()
		probes := before.Open && after.Open && before.Since.Equal(after.Since)
		end(w.call(probes && !overruled(), before.Since))
		sleep(ctx, 2*time.Second)
	}
}
