package finxtest

import (
	"net/http"
	"sync"
	"time"
)

// Sandbox is the simulator. It is an http.Handler, safe for concurrent use.
type Sandbox struct {
	opts Options
	mux  *http.ServeMux
	// origin refuses browser requests that other sites' pages send.
	origin *http.CrossOriginProtection

	// mu guards all that follows. Histories are immutable once published under
	// it, so transaction pages are generated without holding it.
	mu     sync.Mutex
	clock  time.Duration // how far ahead of the machine's clock the sandbox is
	flows  map[digest]*flow
	users  map[string]*user
	tokens tokenStore
	faults faultSet
	stats  Stats
	limit  bucket
}

// New returns a Sandbox. It panics on Options that Validate refuses, because it
// is called by tests and by a program that has validated its flags.
func New(o Options) *Sandbox {
	if err := o.Validate(); err != nil {
		panic(err)
	}
	s := &Sandbox{opts: o.withDefaults(time.Now()), origin: http.NewCrossOriginProtection()}
	s.Reset()
	s.mux = s.routes()
	return s
}

// Reset forgets links, tokens, users, faults, counters and the clock's offset.
// What Options said stays.
func (s *Sandbox) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = 0
	s.flows = map[digest]*flow{}
	s.users = map[string]*user{}
	s.tokens = newTokenStore()
	s.faults = newFaultSet(s.opts.Seed)
	s.stats = newStats()
	s.limit = bucket{}
}

// Now returns the sandbox's time in UTC.
func (s *Sandbox) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// now is Now for holders of s.mu.
func (s *Sandbox) now() time.Time { return time.Now().Add(s.clock).UTC() }

// Advance moves the sandbox's clock forward: codes, tokens, links and consents
// expire as if d had passed. A d that is not positive does nothing, because
// histories only grow forward.
func (s *Sandbox) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock += max(d, 0)
}

// routes lists every path. Wrong methods are answered per route and not by the
// mux, which would answer in plain text.
func (s *Sandbox) routes() *http.ServeMux {
	m := http.NewServeMux()
	handle := func(path string, methods map[string]http.HandlerFunc) {
		m.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			h, ok := methods[r.Method]
			if !ok {
				writeError(w, http.StatusMethodNotAllowed, codeUnprocessable, "Method Not Allowed", nil)
				return
			}
			h(w, r)
		})
	}
	get := func(h http.HandlerFunc) map[string]http.HandlerFunc { return map[string]http.HandlerFunc{"GET": h} }
	post := func(h http.HandlerFunc) map[string]http.HandlerFunc { return map[string]http.HandlerFunc{"POST": h} }

	handle("/ongoing/access", post(s.basic(s.createAccess)))
	handle("/ongoing/sync", post(s.basic(s.createSync)))
	handle("/auth/token", post(s.token))
	handle("/auth/revoke", map[string]http.HandlerFunc{"GET": s.basic(s.revokeGet), "POST": s.basic(s.revokePost)})
	for _, slash := range []string{"", "/{$}"} {
		handle("/rest/accounts"+slash, get(s.bearer("accounts", s.listAccounts)))
		handle("/rest/accounts/{id}"+slash, get(s.bearer("accounts", s.oneAccount)))
		handle("/rest/accounts/{id}/balance"+slash, get(s.bearer("balance", s.accountBalance)))
		handle("/rest/transactions"+slash, get(s.bearer("transactions", s.listTransactions)))
		handle("/rest/accounts/{id}/transactions"+slash, get(s.bearer("transactions", s.listTransactions)))
	}
	handle("/rest/transactions/{tid}", get(s.bearer("transactions", s.oneTransaction)))
	handle("/rest/accounts/{id}/transactions/{tid}", get(s.bearer("transactions", s.oneTransaction)))
	handle("/category-tree", get(s.basic(categories)))
	handle("/version", get(version))
	m.HandleFunc("/widget/", s.widget)
	s.controlRoutes(m)
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotFound, codeNotFound, "Not Found", nil)
	})
	return m
}

// categories is the one client-level call that asks about nobody. The tree is
// the root of the documented sample; nobody here reads more of it.
func categories(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"categories": []map[string]any{{"parent_id": nil, "id": 150, "name": "Lebenshaltung"}}})
}

func version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"environment": "sandbox", "version": "0.0.0-finxtest"})
}
