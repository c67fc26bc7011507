package custody_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"pgregory.net/rapid"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

const (
	// theConnection is the only one in the world.
	theConnection = "00000000-0000-4000-8000-000000000001"
	worldCall     = 10 * time.Second // CallLimit of the keepers
	worldLease    = 8 * time.Second  // how long a lock outlives its process
	worldTimeout  = 5 * time.Second  // of the clients of Vault and NATS
)

var errAway = errors.New("no connection")

// world is everything outside the processes. Each operation of a process waits
// here until the scheduler lets it take effect, and again until the scheduler
// lets the answer through.
type world struct {
	t        *rapid.T
	store    *vaultstoretest.Memory
	provider *provider
	escrow   map[string][]byte
	leases   leases
	hosts    []*process // the incarnation that lives on each, or lived last
	begun    time.Time
	tick     int               // of the operations that took effect
	names    map[string]string // by SHA-256: codes and tokens, for the trace
	facts    facts

	mu     sync.Mutex
	queue  []*request
	serial int
	jobs   map[int]string // that are under way
	ended  []finished
	trace  []string
}

// finished is a job that came to its end.
type finished struct {
	by    *process
	what  string
	code  string // of an exchange
	alone bool   // no other job of its process ran beside it
	err   error
}

// process is one incarnation of a replica.
type process struct {
	w      *world
	name   string
	host   int
	skew   time.Duration // of its clock
	spool  map[string][]byte
	escrow string // "both", "bucket" or "none"
	replay custody.ReplayPolicy
	keeper *custody.Keeper
	dead   bool
	paused bool
	cut    map[server]bool // servers it does not reach
	jobs   map[int]context.CancelFunc
	read   int    // when it last read the record with the lock
	saw    string // the refresh token that it found
	adrift bool   // it may do something that no job waits for
	given  int    // turns that are neither used nor given back
}

// server is what an operation speaks to.
type server int

const (
	vault server = iota
	broker
	finX
	disk
	turns // where calls of finX wait for theirs
)

func (s server) String() string {
	return [...]string{"Vault", "NATS", "finX", "its disk", "its turn"}[s]
}

// request is one operation of a process.
type request struct {
	by     *process
	serial int
	to     server
	what   string
	value  string       // the code or token of a call
	act    func() reply // lets it take effect
	writes bool         // it may take effect although nobody waits any more
	lost   error        // what the process sees when no answer comes
	limit  time.Duration
	begun  time.Time
	until  time.Time       // nothing takes effect later
	ctx    context.Context // to see which deadline a call was made with

	admitted bool // a call that had its turn, of which there may be two
	seen     bool
	ended    bool // the process stopped waiting: time-out or cancellation
	over     bool // it must not take effect any more
	done     *reply
	answer   chan reply // nil: nobody waits
}

// reply is the answer to any operation.
type reply struct {
	rec     vaultstore.Record
	version vaultstore.Version
	tokens  finx.Tokens
	lease   *lease
	plain   []byte
	wrapped string
	sealed  []byte
	keys    []string
	err     error
}

// do hands the operation over and waits for the answer. A dead process goes on
// in a world of its own where everything works and nobody sees it, so that its
// goroutines come to their end.
func (p *process) do(ctx context.Context, r *request) reply {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	w := p.w
	w.mu.Lock()
	if p.dead {
		w.mu.Unlock()
		return afterlife(r)
	}
	w.serial++
	answer := make(chan reply, 1)
	r.by, r.serial, r.ctx, r.answer, r.begun = p, w.serial, ctx, answer, time.Now()
	if r.until, _ = ctx.Deadline(); r.to == finX {
		r.until = r.begun.Add(worldCall + time.Second)
	}
	w.queue = append(w.queue, r)
	w.mu.Unlock()
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		r.ended = true
	})()
	return <-answer
}

func afterlife(r *request) reply {
	switch r.what {
	case "get":
		return reply{err: vaultstore.ErrNotFound}
	case "lock", "exchange", "refresh", "key", "turn":
		return reply{err: fault.Transient("", errAway)}
	}
	return reply{}
}

// finish takes a request out of the queue and gives the process its answer.
func (w *world) finish(r *request, a reply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(r)
	if r.answer != nil {
		r.answer <- a
		r.answer = nil
	}
}

func (w *world) drop(r *request) {
	w.queue = slices.DeleteFunc(w.queue, func(q *request) bool { return q == r })
}

// waiting returns the requests in an order that does not depend on how the
// runtime ran the goroutines.
func (w *world) waiting() []*request {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortStableFunc(w.queue, func(a, b *request) int {
		return cmp.Or(cmp.Compare(a.by.host, b.by.host), cmp.Compare(a.by.name, b.by.name),
			cmp.Compare(a.to, b.to), cmp.Compare(a.what, b.what), cmp.Compare(a.serial, b.serial))
	})
	return slices.Clone(w.queue)
}

func (w *world) logf(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%9.3fs  ", time.Since(w.begun).Seconds())+fmt.Sprintf(format, args...))
}

// name returns what a hash is of.
func (w *world) name(sha string) string { return cmp.Or(w.names[sha], sha[:min(8, len(sha))]) }

func (w *world) know(value string) secret.Text {
	s := secret.New(value)
	w.names[s.SHA256()] = value
	return s
}

func (w *world) show(r vaultstore.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{%d %s", r.Rotation, r.RefreshToken.Reveal())
	if r.CodeSHA256 != "" {
		fmt.Fprintf(&b, " of %s", w.name(r.CodeSHA256))
	}
	if p := r.Pending; p != nil {
		fmt.Fprintf(&b, ", mark: %s %s by %s %s", p.Kind, w.name(p.SHA256), p.Holder, p.Outcome)
	}
	return b.String() + "}"
}

// crash ends a process: what it had sent may still take effect, what it was
// told is lost with it.
func (w *world) crash(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.dead, p.paused = true, false
	for _, r := range slices.Clone(w.queue) {
		if r.by != p {
			continue
		}
		if r.answer != nil {
			r.answer <- afterlife(r)
			r.answer = nil
		}
		if r.done != nil || r.over || !r.writes || r.to == disk {
			w.drop(r)
		}
	}
	for _, cancel := range p.jobs {
		cancel()
	}
	clear(p.jobs)
	w.leases.stall(p)
	w.facts.crashed(p)
}

// enter notes a job that begins, leave one that ends.
func (w *world) enter(p *process, what string, n int, cancel context.CancelFunc) (alone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	alone = len(p.jobs) == 0 && !p.adrift
	p.jobs[n], w.jobs[n] = cancel, what
	return alone
}

func (w *world) leave(j finished, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(j.by.jobs, n)
	delete(w.jobs, n)
	j.alone = j.alone && len(j.by.jobs) == 0
	if !j.by.dead {
		w.ended = append(w.ended, j)
	}
}

// collect returns the jobs that ended since it was called last.
func (w *world) collect() []finished {
	w.mu.Lock()
	defer w.mu.Unlock()
	ended := w.ended
	w.ended = nil
	return ended
}

// running counts the jobs of a kind, or of every kind.
func (w *world) running(what string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.jobs {
		if what == "" || one == what {
			n++
		}
	}
	return n
}

// calls reports whether a call of a process is under way.
func (w *world) calls(p *process) bool {
	return slices.ContainsFunc(w.waiting(), func(r *request) bool { return r.by == p && r.to == finX })
}

func (w *world) hasEnded(r *request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return r.ended
}

// tell shows the answer to a request.
func (w *world) tell(r *request, a reply) string {
	switch {
	case a.err != nil:
		return a.err.Error()
	case r.what == "get":
		return fmt.Sprintf("version %d %s", a.version, w.show(a.rec))
	case r.what == "put":
		rec, _, _ := w.store.Get(w.t.Context(), theConnection)
		return fmt.Sprintf("version %d %s", a.version, w.show(rec))
	case r.to == finX:
		return a.tokens.RefreshToken.Reveal()
	case r.what == "unseal":
		return fmt.Sprintf("found %t", a.sealed != nil)
	}
	return "done"
}
