package e2e_test

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/streams"
)

// soak is a mixed load on two connectors and three broker nodes, with troubles at
// random moments, and the ledger of what went in and what came out.
type soak struct {
	*world

	ledger   *ledger
	shelf    *shelf
	readers  []*reader
	seed     uint64
	length   time.Duration
	pace     pace    // of the troubles
	perSec   float64 // users that come
	guests   sync.WaitGroup
	arrived  int
	withheld atomic.Int64 // codes that finX issued and nobody ever sends
}

// settling is how long nothing may come to its end after the troubles while
// something is left to do.
const settling = 90 * time.Second

// TestSoak runs for 12 s, or for as long as FINX_SOAK says (make soak FOR=10m).
// FINX_SOAK_SEED makes the choices of another run again, FINX_SOAK_RATE sets how
// many users come a second, FINX_SOAK_LOGS keeps the logs of all processes there.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("builds servers and kills them")
	}
	t.Parallel()
	s := newSoak(t)
	s.start()
	s.observe()
	begun := time.Now()
	s.run()
	loaded := time.Since(begun)
	s.settle()
	settled := time.Since(begun)
	s.stopAll()
	s.report(loaded, settled)
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{ledger: newLedger(), seed: rand.Uint64(), length: 12 * time.Second, pace: pace{3 * time.Second, 1500 * time.Millisecond}, perSec: 6}
	setting := func(name string, set func(value string) error) {
		if value := os.Getenv(name); value != "" {
			if err := set(value); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	setting("FINX_SOAK", func(value string) (err error) {
		s.length, err = time.ParseDuration(value)
		s.perSec, s.pace = 20, pace{8 * time.Second, 8 * time.Second}
		return err
	})
	setting("FINX_SOAK_SEED", func(value string) (err error) { s.seed, err = strconv.ParseUint(value, 10, 64); return err })
	setting("FINX_SOAK_RATE", func(value string) (err error) { s.perSec, err = strconv.ParseFloat(value, 64); return err })
	// Half of the time, so that the timers of the first half come due while it lasts.
	s.world = newWorld(t, max(time.Second, s.length/2), s.seed)
	t.Logf("seed %d, %s, %v users a second; logs in %s", s.seed, s.length, s.perSec, s.logs)
	return s
}

// observe reads everything that is stored, from the beginning to the end of the test.
func (s *soak) observe() {
	s.t.Helper()
	objects, err := s.js.ObjectStore(s.t.Context(), events.ObjectsOversize)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	s.shelf = newShelf(ctx, objects, s.ledger)
	var running sync.WaitGroup
	for stream, take := range map[string]func(events.Message){
		events.StreamEvents: s.takeEvent, events.StreamRequests: s.takeRequest,
		events.StreamCallbacks: s.takeCallback, events.StreamDLQ: s.takeLetter,
	} {
		r := &reader{js: s.js, stream: stream, take: take}
		s.readers = append(s.readers, r)
		running.Go(func() { r.run(ctx) })
	}
	s.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// run lets users come and things go wrong until the time is over.
func (s *soak) run() {
	ctx, cancel := context.WithCancel(s.t.Context())
	var load sync.WaitGroup
	load.Go(func() { s.arrive(ctx) })
	s.disturb()
	cancel()
	load.Wait()
}

// arrive lets users come at random. Each has dice of its own, so that what one
// draws does not depend on how long another takes.
func (s *soak) arrive(ctx context.Context) {
	dice := rand.New(rand.NewPCG(s.seed, 1<<40))
	for {
		wait(ctx, time.Duration(dice.ExpFloat64()/s.perSec*float64(time.Second)))
		if ctx.Err() != nil {
			return
		}
		n := s.arrived
		s.arrived++
		g := &visitor{
			soak: s, ctx: s.t.Context(), dice: rand.New(rand.NewPCG(s.seed, uint64(n))), user: "guest-" + strconv.Itoa(n) + "@example.com",
		}
		s.guests.Go(g.play)
	}
}

// diceOf are the dice that the troubles are drawn with.
func diceOf(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1<<41)) }

// disturb plays the plan of troubles.
func (s *soak) disturb() {
	begun := time.Now()
	type moment struct {
		at time.Duration
		do func()
	}
	var agenda []moment
	for _, p := range plan(diceOf(s.seed), s.length, s.pace) {
		var end func()
		agenda = append(agenda, moment{p.at, func() {
			s.t.Logf("%6.1f s  %s for %s", p.at.Seconds(), p.name, p.length.Round(100*time.Millisecond))
			end = p.begin(s.world, p.length)
		}}, moment{p.at + p.length, func() { end() }})
	}
	slices.SortStableFunc(agenda, func(a, b moment) int { return int(a.at - b.at) })
	for _, m := range agenda {
		wait(s.t.Context(), m.at-time.Since(begun))
		m.do()
	}
	wait(s.t.Context(), s.length-time.Since(begun))
}

// settle waits until every input from outside has come to its end.
func (s *soak) settle() {
	s.t.Helper()
	gone := make(chan struct{})
	go func() {
		s.guests.Wait()
		close(gone)
	}()
	left, since := -1, time.Now()
	for time.Since(since) < settling {
		wait(s.t.Context(), 300*time.Millisecond)
		now := s.ledger.add(nil).unfinished()
		if now != left {
			left, since = now, time.Now()
		}
		select {
		case <-gone:
			if now == 0 && s.quiet(streams.DurableConnects, streams.DurableCallbacks) {
				return
			}
		default:
		}
	}
	s.t.Errorf("nothing has come to an end for %s, and %d inputs have none", settling, left)
}

// stopAll asks both connectors to stop, now that they are at rest.
func (s *soak) stopAll() {
	var both sync.WaitGroup
	for _, r := range s.replicas {
		both.Go(func() {
			if !r.stop(drainWithin) {
				r.problemf("still there %s after SIGTERM", drainWithin)
			}
		})
	}
	both.Wait()
}

// report adds everything up, prints it, and fails the test if it does not balance.
func (s *soak) report(loaded, settled time.Duration) {
	s.t.Helper()
	s.catchUp()
	figures := s.figures(loaded, settled)
	books := s.books()
	b := s.ledger.add(s.held())
	problems := slices.Concat(b.problems, books.problems)
	for _, r := range s.replicas {
		problems = append(problems, r.found()...)
	}
	s.t.Logf("the ledger of %s, seed %d:\n%s\n%s\n%s", s.length, s.seed, b, books, figures)
	for _, p := range problems[:min(len(problems), 50)] {
		s.t.Error(p)
	}
	if len(problems) > 50 {
		s.t.Errorf("and %d more", len(problems)-50)
	}
	if len(problems) > 0 {
		for _, r := range s.replicas {
			s.t.Logf("the last of %s:\n%s", r.name, logTail(r.log.Name(), 4<<10))
		}
	}
}

func logTail(name string, most int) string {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return tail(strings.TrimSpace(string(raw)), most)
}
