package e2e_test

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// provider is how finX treats a code or a refresh token that has been used before.
type provider struct {
	name    string
	sandbox finxtest.Options
}

// The behaviours that finX may show; its documents are silent about it.
const (
	withGrace = "grace"
	noGrace   = "no grace"
	revokes   = "revokes"
)

var providers = []provider{
	{withGrace, finxtest.Options{Grace: 10 * time.Minute, CodeGrace: 10 * time.Minute}},
	{noGrace, finxtest.Options{}},
	{revokes, finxtest.Options{RevokeOnReuse: true}},
}

// What spends something: a code, or a refresh token.
const (
	exchange = "exchange"
	refresh  = "refresh"
)

const crashUser = "crash@example.com"

// escrowKey seals answers of finX in these tests.
const escrowKey = "dGhpcyBrZXkgc2VhbHMgbm90aGluZyBidXQgdGVzdHM="

// scene is one code or refresh token that is spent while something goes wrong,
// on an installation of its own.
type scene struct {
	*rig

	kind      string
	link      event
	back      string // the URL of the callback, for an exchange
	processes []*process
	known     map[string]bool // ids of the events from before the trouble
	effects   int             // exchanges or rotations from before
	calls     int             // token calls from before
	families  int             // families that the user revoked
}

// staging is what is special about a scene; the zero value is nothing.
type staging struct {
	broker    broker
	slowVault time.Duration     // how long Vault thinks before it does anything
	env       map[string]string // on top of what all scenes have
}

// newScene starts what a connector needs, with times that make the waiting for
// a dead process short, and a place for sealed answers.
func newScene(t *testing.T, kind string, p provider, with staging) *scene {
	t.Helper()
	o := options{broker: with.broker, sandbox: p.sandbox, env: map[string]string{
		"LISTEN_ADDR": "127.0.0.1:0", "ACK_WAIT": "2s", "LEASE_TTL": "2s", "FINX_TIMEOUT_TOKEN": "5s", "CLOCK_SKEW": "1s",
		"ESCROW_KEY": escrowKey, "ESCROW_DIR": t.TempDir(),
	}}
	o.sandbox.Shape = finxtest.Shape{Accounts: 1, Transactions: 20}
	maps.Copy(o.env, with.env)
	s := &scene{rig: newRig(t, o), kind: kind}
	if with.slowVault > 0 {
		s.safe.answer(func(passing) (int, string) { pause(t, with.slowVault); return 0, "" })
	}
	return s
}

// launch starts one more process. It does not wait for it: it may be killed at
// the first thing it does.
func (s *scene) launch(points string) *process {
	s.t.Helper()
	env := maps.Clone(s.env)
	env["FINX_CRASHPOINTS"] = points
	p := launch(s.t, armed.path(s.t, "finx-connector"), env, "serve")
	s.processes = append(s.processes, p)
	return p
}

// launchElsewhere starts one on another host, and waits until it holds what the
// dead process was at work on.
func (s *scene) launchElsewhere() {
	s.t.Helper()
	here := s.env["ESCROW_DIR"]
	s.env["ESCROW_DIR"] = s.t.TempDir()
	p := s.launch("")
	s.env["ESCROW_DIR"] = here
	natstest.Eventually(s.t, patience, func() bool { return strings.Contains(p.out.String(), `"outcome":"wait_until"`) }, "mark seen elsewhere")
}

// prepare brings the connection to where the spending begins: before the
// callback, or established with an access token that is dead.
func (s *scene) prepare() {
	s.t.Helper()
	s.link = s.connect(crashUser)
	back := s.approve(s.link.Location)
	if s.kind == exchange {
		s.back = back.String()
	} else {
		s.callback(back)
		s.completed(s.link.ConnectionID, 1)
		s.quiet()
		s.sandbox.Advance(2 * time.Hour)
	}
	s.known = s.ids()
	s.effects, s.calls = s.taken(), s.tokenCalls()
}

// trigger makes the connector spend, and returns the id of the event that does.
func (s *scene) trigger() (id string) {
	s.t.Helper()
	if s.kind == exchange {
		return s.send(events.TypeCallbackReceived, map[string]any{"callback_url": s.back})
	}
	return s.send(events.TypeSyncRequested, syncData(s.link.ConnectionID))
}

// ended waits until it has been said how the spending ended.
func (s *scene) ended() {
	s.t.Helper()
	await(s.rig, patience, "end of the "+s.kind, func() (bool, bool) {
		return true, slices.ContainsFunc(s.seen.events, func(e event) bool {
			return !s.known[e.ID] && (e.Type == events.TypeConnectionFailed || e.Type == events.TypeFetchCompleted || e.Type == events.TypeFetchFailed)
		})
	})
}

// outcome waits for the end, and until no delivery is left that could say or do more.
func (s *scene) outcome() {
	s.t.Helper()
	s.ended()
	s.quiet()
}

// quiet waits until every lane is idle.
func (s *scene) quiet() {
	s.t.Helper()
	s.idle(events.StreamCallbacks, "finx-callbacks")
	s.idle(events.StreamRequests, "finx-syncs")
}

func (s *scene) ids() map[string]bool {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	ids := map[string]bool{}
	for _, e := range s.seen.events {
		ids[e.ID] = true
	}
	return ids
}

// taken is how often finX handed something new out for what the scene spends.
func (s *scene) taken() int {
	if s.kind == exchange {
		return s.sandbox.Stats().CodesExchanged
	}
	return s.sandbox.Stats().Rotations
}

// tokenCalls counts the requests on their way to the token endpoint, also those
// that never arrived there.
func (s *scene) tokenCalls() (n int) {
	if s.env["FINX_BASE_URL"] == s.base { // past the gate
		stats := s.sandbox.Stats()
		return stats.Total("token.exchange") + stats.Total("token.refresh")
	}
	s.bank.mu.Lock()
	defer s.bank.mu.Unlock()
	return s.bank.count["POST /auth/token"]
}

// dies waits until a process has been killed, by the crash point if it is one.
func (s *scene) dies(p *process, point string) {
	s.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-p.exited:
	case <-limit.C:
		s.t.Fatalf("the moment to be killed at did not come; seen:%s", s.seen.summary())
	}
	if p.code != -1 || !strings.Contains(p.out.String(), point) {
		s.t.Fatalf("the process ended by itself with code %d:\n%s", p.code, tail(p.out.String(), 4<<10))
	}
}

// sideBySide runs cases at the same time, however few processors there are:
// what they do nearly all of the time is wait for leases and marks to run out.
func sideBySide[C any](t *testing.T, width int, cases []C, name func(C) string, run func(*testing.T, C)) {
	t.Helper()
	var running sync.WaitGroup
	slots := make(chan struct{}, width)
	for _, c := range cases {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			t.Run(name(c), func(t *testing.T) { run(t, c) })
		})
	}
	running.Wait()
}
