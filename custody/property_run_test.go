package custody_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

// wantPaths are the situations that the runs must have been in, all of them, or
// they prove nothing.
var wantPaths = []string{
	"refused", "repeated by the same process", "repeated by another process",
	"tokens stored", "conflict of a mark", "conflict of an answer",
	"settled rejected", "settled unknown", "code rejected", "token rejected", "exchange unknown", "rotation unknown",
	"waits for a young mark", "too late to call", "crashed with a call in flight", "crashed with an answer",
	"lease lost with a call in flight", "overtook a process that stood still or lost the lock",
	"waited for its turn", "spooled", "escrowed", "brought home", "answer lost", "put lost and stored", "put lost and stored later",
}

// TestNoInterleavingLosesAToken lets replicas share one connection while
// everything around them fails, in an order that chance decides, and checks
//
//	I1  no two calls with one value that could both take effect, unless a process
//	    stood still for longer than its mark protects it
//	I2  what is stored is never replaced by something older, and in the end it is
//	    the newest that any process received and kept
//	I3  a code whose tokens were stored is never sent again
//	I4  a loss is never silent and never blamed on the user
//	I5  with a grace window nothing is ever lost
//	I6  no call without a mark that names its value
//	I7  nothing but its limit cuts off a call
//	I8  no call is made out of turn, no lock is held while one waits for it, and in
//	    the end every turn was used or given back
func TestNoInterleavingLosesAToken(t *testing.T) {
	checks, batches := "800", 6
	if os.Getenv("FINX_TEST_LONG") != "" {
		checks = "30000"
	}
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set(checks); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Value.Set(f.DefValue) }()
	}
	paths := map[string]int{}
	missing := wantPaths
	for ; batches > 0 && len(missing) > 0; batches-- {
		rapid.Check(t, func(t *rapid.T) {
			rapid.SyncTest(t, func(t *rapid.T) {
				s := newScheduler(t)
				defer s.stop()
				s.run()
				s.comeToRest()
				for name, n := range s.w.facts.paths {
					paths[name] += n
				}
			})
		})
		missing = slices.DeleteFunc(slices.Clone(wantPaths), func(name string) bool { return paths[name] > 0 })
	}
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		t.Logf("%7d  %s", paths[name], name)
	}
	if len(missing) > 0 {
		t.Errorf("nothing ever got to: %s", strings.Join(missing, "; "))
	}
}

// scheduler decides what happens next.
type scheduler struct {
	t       *rapid.T
	w       *world
	codes   []*code
	keys    *custody.StaticKeys
	born    int
	jobs    sync.WaitGroup
	rough   int  // percent of operations that go wrong
	trouble int  // percent of events that are trouble
	saved   bool // nothing goes wrong any more
	last    *finished
}

func newScheduler(t *rapid.T) *scheduler {
	w := &world{
		t:     t,
		store: vaultstoretest.NewMemory(), escrow: map[string][]byte{}, begun: time.Now(),
		names: map[string]string{}, facts: newFacts(), jobs: map[int]string{},
	}
	s := &scheduler{t: t, w: w}
	w.provider = newProvider(s.pick("provider", strict, revoking, graceSame, graceFresh, keepsTokens))
	w.leases.off = s.chance("locks off", 15)
	s.rough = []int{3, 10, 25}[s.draw("rough")%3]
	s.trouble = []int{5, 10, 20}[s.draw("trouble")%3]
	var err error
	if s.keys, err = custody.NewStaticKeys(secret.New(strings.Repeat("A", 43) + "=")); err != nil {
		t.Fatal(err)
	}
	escrow, replay := s.pick("escrow", "both", "bucket", "none"), custody.ReplayAlways
	if s.chance("never replay", 10) {
		replay = custody.ReplayNever
	}
	w.logf("a provider that is %s; escrow %s, replay %s, locks off %t", w.provider.mode, escrow, replay, w.leases.off)
	hosts := 2 + s.draw("hosts")%5/4
	for host := range hosts {
		skew := time.Duration(s.draw("skew")%3-1) * 2400 * time.Millisecond
		s.w.hosts = append(s.w.hosts, &process{w: w, host: host, skew: skew, spool: map[string][]byte{}, escrow: escrow, replay: replay, dead: true})
		s.start(host)
	}
	s.codes = append(s.codes, w.provider.newCode(time.Now()))
	w.know(s.codes[0].value)
	if !s.chance("begin with the code", 30) {
		s.establish()
	}
	return s
}

// establish begins with a connection whose code was exchanged long ago.
func (s *scheduler) establish() {
	t, err := s.w.provider.exchange(s.codes[0].value, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	rec := vaultstore.Record{
		AccessToken: t.AccessToken, RefreshToken: t.RefreshToken, Rotation: 1,
		AccessExpiresAt: time.Now(), RefreshObtainedAt: time.Now(), CodeSHA256: secret.New(s.codes[0].value).SHA256(),
	}
	s.w.know(t.RefreshToken.Reveal())
	if _, err := s.w.store.Put(s.t.Context(), theConnection, rec, 0); err != nil {
		s.t.Fatal(err)
	}
	s.w.facts.stored(s.w, s.w.hosts[0], vaultstore.Record{}, rec)
	s.w.facts.paths = map[string]int{}
}

// start brings a host up again, with a holder name of its own.
func (s *scheduler) start(host int) {
	old := s.w.hosts[host]
	s.born++
	p := &process{
		w: s.w, host: host, name: fmt.Sprintf("%c%d", 'A'+host, s.born), skew: old.skew, spool: old.spool,
		escrow: old.escrow, replay: old.replay, cut: map[server]bool{}, jobs: map[int]context.CancelFunc{},
	}
	cfg := custody.Config{
		Secrets: vaultView{p}, Tokens: finxView{p}, Lock: p.lock, Holder: p.name, CallLimit: worldCall,
		RefreshSkew: time.Second, ClockSkew: 5 * time.Second, Replay: p.replay, Logger: slog.New(slog.DiscardHandler),
	}
	if p.escrow != "none" {
		cfg.Escrow = &custody.Escrow{Keys: keysView{p, s.keys}, Bucket: bucketView{p, broker, s.w.escrow}}
	}
	if p.escrow == "both" {
		cfg.Escrow.Spool = bucketView{p, disk, p.spool}
	}
	var err error
	if p.keeper, err = custody.New(cfg); err != nil {
		s.t.Fatal(err)
	}
	s.w.hosts[host] = p
	s.w.logf("%s starts", p.name)
}

// draw is a number from chance, more often small than large.
func (s *scheduler) draw(what string) int {
	return int(rapid.Uint16().Draw(s.t, what) * 40503) // a bijection that spreads the small ones
}

// chance is true in so many of 100 cases, and false in what rapid thinks simplest.
func (s *scheduler) chance(what string, percent int) bool { return s.draw(what)%100 >= 100-percent }

func (s *scheduler) pick(what string, from ...string) string { return from[s.draw(what)%len(from)] }

// run lets chance have its way.
func (s *scheduler) run() {
	for range 40 + s.draw("steps")%160 {
		time.Sleep(time.Millisecond) // nothing takes no time at all
		s.attend()
		s.step()
		s.check()
	}
}

func (s *scheduler) check() {
	if len(s.w.facts.broken) > 0 {
		s.t.Fatalf("%s\n%s", strings.Join(s.w.facts.broken, "\n"), strings.Join(s.w.trace, "\n"))
	}
}

// stop ends every process, so that no goroutine outlives the run.
func (s *scheduler) stop() {
	for _, p := range s.w.hosts {
		s.w.crash(p)
	}
	s.w.mu.Lock()
	s.w.queue = nil
	s.w.mu.Unlock()
	s.jobs.Wait()
	time.Sleep(time.Hour) // what sleeps must wake up: the clock of the bubble stops with this goroutine
	synctest.Wait()
}

// comeToRest heals everything, lets all processes finish, kills all but one and
// lets that one have the last word.
func (s *scheduler) comeToRest() {
	s.attend()
	s.saved = true
	for _, p := range s.w.hosts {
		s.resume(p)
		clear(p.cut)
	}
	s.attend()
	if s.chance("the others die first", 50) {
		for _, p := range s.w.hosts[1:] {
			s.crash(p)
		}
	}
	s.quiet()
	for i := range s.w.hosts {
		if s.w.hosts[i].dead {
			s.start(i)
		}
		if s.w.hosts[i].escrow != "none" {
			_ = s.mustEnd(i, "home", "") // judged by what is stored in the end
		}
	}
	s.advance(time.Hour)
	last := s.finalWord()
	s.w.logf("in the end: %v", last)
	s.judge(last)
	s.check()
}

func verdict(err error) string {
	if err == nil {
		return "done"
	}
	return fault.Of(err).String() + ": " + err.Error()
}
