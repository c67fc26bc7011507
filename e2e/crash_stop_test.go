package e2e_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/crashpoint"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// halt is a moment at which the process that holds the lease is stopped with
// SIGSTOP, and continued when its lease, or more, has run out.
type halt struct {
	number, what string
	point        string // a crash point, or "" for the gate before finX
	// until says when it is continued.
	until until
	// here: the other process is on the same host.
	here bool
	// window: as for a crash, because nobody can tell it from one.
	window bool
}

// until is how long a process stays stopped.
type until int

const (
	markSeen until = iota // its lease has run out, and another process has found the mark
	callOver              // its call has taken longer than a call may
	workDone              // another process has done the work, however long the mark keeps that waiting
)

var halts = []halt{
	{number: "S1", what: "the lock is held, until another has done the work", point: refresh + crashpoint.Locked, until: workDone},
	{number: "S2", what: "the mark is written, until another has found the mark", point: refresh + crashpoint.Marked},
	{number: "S3", what: "the mark is written, until another has done the work", point: refresh + crashpoint.Marked, until: workDone},
	{number: "S4", what: "finX's answer is on its way, until another has found the mark"},
	{number: "S4b", what: "finX's answer is on its way, until the call's time is over", until: callOver},
	{number: "S5", what: "finX's answer is on its way, until others take it for lost", until: workDone, window: true},
	{number: "S6", what: "the answer is in memory, until another has found the mark", point: refresh + crashpoint.Received},
	{number: "S7", what: "the answer is in memory, until others take it for lost", point: refresh + crashpoint.Received, until: workDone, window: true},
	{number: "S8", what: "a sealed copy is in the spool, until another on this host has done the work", point: refresh + crashpoint.Kept, until: workDone, here: true},
	{number: "S9", what: "the tokens are stored, until another has done the work", point: refresh + crashpoint.Stored, until: workDone},
}

// strict is the provider that punishes every mistake.
var strict = provider{revokes, providers[2].sandbox}

// stopTimes give the call more time than the lease, so that one can run out
// without the other.
var stopTimes = staging{env: map[string]string{"FINX_TIMEOUT_TOKEN": "12s"}}

// TestStoppedLeaseHolder stops the process that holds the lease and continues
// it: it must not spend or store anything that is not its own any more.
func TestStoppedLeaseHolder(t *testing.T) {
	t.Parallel()
	table := newTable(t, refresh+", stopped and continued", tableHead(refresh, "stopped when"))
	for _, h := range halts {
		table.expect(h.number, h.what, strict.name)
	}
	sideBySide(t, scenesAtOnce, halts, func(h halt) string { return h.number }, func(t *testing.T, h halt) {
		got := h.play(t)
		if !h.window && (got.lost > 0 || got.reuses > 0 || got.families > 0) {
			t.Errorf("%d lost, %d reuses, %d families revoked", got.lost, got.reuses, got.families)
		}
		if got.effects != 1 {
			t.Errorf("%d rotations", got.effects)
		}
		checkTold(t, refresh, got)
		table.add(t, h.number, strict.name, got.cells())
	})
	table.done()
}

func (h halt) play(t *testing.T) tally {
	s := newScene(t, refresh, strict, stopTimes)
	s.env["LISTEN_ADDR"] = freeAddress(t)
	holder := s.launch(strings.TrimPrefix(h.point+"=stop", "=stop"))
	s.prepare()
	if h.point == "" {
		s.bank.on(func(c passing) bool {
			if c.is(http.MethodPost, "/auth/token") && c.Answered {
				s.bank.on(nil)
				holder.halt()
				holder.awaitHalt() // before the first byte is on its way
			}
			return false
		})
	}
	s.trigger()
	holder.awaitHalt()
	s.env["LISTEN_ADDR"] = freeAddress(t)
	if !h.here {
		s.env["ESCROW_DIR"] = t.TempDir()
	}
	other := s.launch("")
	waitReady(t, other.addr, other)
	s.leaseGone()
	switch h.until {
	case markSeen:
		s.markSeen(other)
	case callOver:
		pause(t, s.settings().FinX.Timeouts.Token)
	case workDone:
		s.ended()
	}
	holder.resume()
	s.outcome()
	got := s.tally(false)
	for _, p := range s.processes {
		s.works(p)
	}
	return got
}

// markSeen waits until a process has come to the mark of another, and would spend
// the same token if it did not heed it.
func (s *scene) markSeen(p *process) {
	s.t.Helper()
	calls := s.tokenCalls()
	natstest.Eventually(s.t, patience, func() bool {
		return strings.Contains(p.out.String(), "a call of another process may be under way") || s.tokenCalls() > calls
	}, "mark found")
}

// works sees that a process takes work: the others are stopped meanwhile.
func (s *scene) works(p *process) {
	s.t.Helper()
	waitReady(s.t, p.addr, p)
	for _, q := range s.processes {
		if q != p {
			q.halt()
			q.awaitHalt()
			defer q.resume()
		}
	}
	if link := s.connect("afterwards@example.com"); link.Location == "" {
		s.t.Error("no link")
	}
}

// TestStoppedAtRandom stops one of two processes again and again, wherever it is,
// for longer than its lease.
func TestStoppedAtRandom(t *testing.T) {
	t.Parallel()
	rounds := 3
	if os.Getenv("FINX_TEST_LONG") != "" {
		rounds = 30
	}
	seeds := []uint64{rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64()}
	sideBySide(t, len(seeds), seeds, func(seed uint64) string { return fmt.Sprint(seed) }, func(t *testing.T, seed uint64) {
		dice := rand.New(rand.NewPCG(seed, 1))
		s := newScene(t, refresh, strict, stopTimes)
		for range 2 {
			s.env["LISTEN_ADDR"] = freeAddress(t)
			p := s.launch("")
			waitReady(t, p.addr, p)
		}
		s.prepare()
		for range rounds {
			p := s.processes[dice.IntN(2)]
			s.trigger()
			pause(t, time.Duration(dice.IntN(60))*time.Millisecond)
			p.halt()
			p.awaitHalt()
			pause(t, 2500*time.Millisecond) // the lease lives for two seconds
			p.resume()
			s.outcome()
			if got := s.sandbox.Stats(); got.RefreshesReused > 0 || got.FamiliesRevoked > 0 {
				t.Fatalf("%d reuses, %d families revoked", got.RefreshesReused, got.FamiliesRevoked)
			}
			s.known = s.ids()
			s.sandbox.Advance(2 * time.Hour)
		}
		s.effects, s.calls = s.taken(), s.tokenCalls()
		if got := s.tally(false); got.lost > 0 {
			t.Error("the tokens are lost")
		}
		for _, p := range s.processes {
			s.works(p)
		}
	})
}

// halt stops a process as a paused virtual machine is stopped; resume lets it
// go on, and does nothing to one that was not stopped.
func (p *process) halt()   { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) resume() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// awaitHalt waits until no thread of the process runs any more.
func (p *process) awaitHalt() {
	p.t.Helper()
	natstest.Eventually(p.t, patience, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			p.t.Fatal(err)
		}
		_, state, _ := strings.Cut(string(stat), ") ") // the name before may hold anything
		return strings.HasPrefix(state, "T")
	}, "process stopped")
}

// leaseGone waits until the server has dropped the lease of the tokens.
func (s *scene) leaseGone() {
	s.t.Helper()
	kv, err := s.js.KeyValue(s.t.Context(), "finx_leases")
	if err != nil {
		s.t.Fatal(err)
	}
	natstest.Eventually(s.t, patience, func() bool {
		_, err := kv.Get(s.t.Context(), "tokens."+s.link.ConnectionID)
		return errors.Is(err, jetstream.ErrKeyNotFound)
	}, "lease gone")
}
