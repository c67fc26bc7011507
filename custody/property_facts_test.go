package custody_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// facts is what an observer of everything at once knows: which paths were
// taken, and which invariants were broken.
type facts struct {
	paths   map[string]int
	broken  []string
	kept    map[string]bool     // refresh tokens that reached the store or a sealed copy
	codes   map[string]bool     // codes whose tokens were stored
	callers map[string][]string // by value: who sent it
	// maybeSpent: a call with this value may have taken effect, for all that its process knew.
	maybeSpent map[string]bool
	hands      []*hand
	brought    map[string]string // by process and hash of what was spent: the token
	marks      map[string]markOf // by process
	seals      map[string]seal   // by place and key: the copies
	excused    map[*family]bool  // somebody was away for longer than a mark protects
}

// seal is a copy of an answer: when it was made, and of which token.
type seal struct {
	tick  int
	token string
}

// markOf is the last mark of a process.
type markOf struct {
	sha256  string
	overrun bool // somebody stored tokens since
}

// hand is an answer on its way to a process, or in its memory.
type hand struct {
	by    *process
	value string // what was spent for it
	token string
	since time.Time // of the call
	lost  bool      // its process stood still or lost the lock
	there bool      // its process has it
}

func newFacts() facts {
	return facts{
		paths: map[string]int{}, kept: map[string]bool{}, codes: map[string]bool{},
		callers: map[string][]string{}, excused: map[*family]bool{}, maybeSpent: map[string]bool{},
		brought: map[string]string{}, seals: map[string]seal{}, marks: map[string]markOf{},
	}
}

func (f *facts) path(name string) { f.paths[name]++ }

func (f *facts) breachf(format string, args ...any) {
	f.broken = append(f.broken, fmt.Sprintf(format, args...))
}

// begins judges a call at the moment it is made.
func (f *facts) begins(w *world, r *request) {
	sha := w.know(r.value).SHA256()
	rec, _, err := w.store.Get(r.ctx, theConnection)
	mark, mine := rec.Pending, f.marks[r.by.name]
	switch there := err == nil && mark != nil && mark.SHA256 == sha && mark.Kind == r.what && mark.Outcome == "" && mark.Holder == r.by.name; {
	case mine.sha256 != sha || !there && !mine.overrun:
		f.breachf("I6: %s sends %s, and the store has %s", r.by.name, r.value, w.show(rec))
	case !there:
		// Between the mark and the call, somebody who had stood still stored the answer.
		f.path("overrun between mark and call")
		f.excuse(w, r.value, rec.RefreshToken.Reveal())
	case r.what == "refresh" && rec.RefreshToken.Reveal() != r.value:
		f.breachf("I3: %s sends %s, and the store has %s", r.by.name, r.value, w.show(rec))
	case f.codes[r.value]:
		f.breachf("I3: %s sends %s, whose tokens were stored", r.by.name, r.value)
	}
	for _, q := range w.queue {
		if q != r && q.value == r.value && q.done == nil && !q.over {
			f.breachf("I1: %s sends %s while a call of %s is in flight", r.by.name, r.value, q.by.name)
		}
	}
	if !r.admitted {
		f.breachf("I8: %s sends %s, and it is not its turn", r.by.name, r.value)
	}
	f.ignores(w, r.by, r.value, "sends")
	for _, h := range f.hands {
		if h.value == r.value && h.by != r.by {
			f.overtakes(w, r, h)
		}
	}
	if r.by.replay == custody.ReplayNever && f.maybeSpent[r.value] {
		f.breachf("I1: %s sends %s again, which is never to be done", r.by.name, r.value)
	}
	switch who := f.callers[r.value]; {
	case slices.Contains(who, r.by.name):
		f.path("repeated by the same process")
	case len(who) > 0:
		f.path("repeated by another process")
	}
	f.callers[r.value] = append(f.callers[r.value], r.by.name)
}

// waits judges a process at the moment its turn comes.
func (f *facts) waits(ctx context.Context, p *process) {
	if ctx.Value(underLock{}) != nil {
		f.breachf("I8: %s waits for its turn with the lock", p.name)
	}
	f.path("waited for its turn")
}

// overtakes judges a call with a value whose answer another process has.
func (f *facts) overtakes(w *world, r *request, h *hand) {
	if age := time.Since(h.since); age < worldCall {
		f.breachf("I1: %s sends %s, %s after %s did, which has the answer", r.by.name, r.value, age, h.by.name)
	}
	if !h.lost && !w.leases.off {
		f.breachf("I1: %s sends %s, and %s has the answer and the lock", r.by.name, r.value, h.by.name)
	}
	f.path("overtook a process that stood still or lost the lock")
	f.excuse(w, h.value, h.token)
}

// excuse notes that a family may be lost because somebody stood still for longer
// than a mark protects. With a grace window that does not withdraw what it gave,
// not even that is a reason for a refresh token.
func (f *facts) excuse(w *world, spent, brought string) {
	isCode := w.provider.codes[spent] != nil
	if t := w.provider.tokens[brought]; t != nil && (isCode || w.provider.mode != graceSame) {
		f.excused[t.family] = true
	}
}

// answered notes what a call brought, once the answer is sure to reach its process.
func (f *facts) answered(w *world, r *request, a reply) {
	switch {
	case errors.Is(a.err, finx.ErrInvalidGrant):
		f.path("refused")
	case a.err == nil && !a.tokens.RefreshToken.IsZero():
		h := &hand{by: r.by, value: r.value, token: a.tokens.RefreshToken.Reveal(), since: r.begun}
		l := w.leases.holder
		h.lost = r.by.paused || l == nil || l.by != r.by || !l.until.IsZero()
		f.hands = append(f.hands, h)
		f.brought[r.by.name+w.know(r.value).SHA256()] = h.token
	}
}

// stored judges a write that took effect.
func (f *facts) stored(w *world, p *process, before, rec vaultstore.Record) {
	old, now := before.RefreshToken.Reveal(), rec.RefreshToken.Reveal()
	if old != now && w.provider.newer(old, now) {
		f.breachf("I2: %s replaces %s by the older %s", p.name, old, now)
	}
	if rec.CodeSHA256 != "" {
		f.codes[w.name(rec.CodeSHA256)] = true
	}
	switch {
	case rec.Rotation > before.Rotation:
		f.path("tokens stored")
		if !slices.ContainsFunc(f.hands, func(h *hand) bool { return h.by == p && h.token == now }) && old != now {
			f.path("brought home")
		}
	case rec.Pending != nil && rec.Pending.Outcome != "":
		f.path("settled " + rec.Pending.Outcome)
	}
	if m := rec.Pending; m != nil && m.Outcome == "" && m.Holder == p.name {
		f.marks[p.name] = markOf{sha256: m.SHA256}
	} else if rec.Rotation > before.Rotation {
		for name, m := range f.marks {
			m.overrun = m.overrun || name != p.name
			f.marks[name] = m
		}
	}
	f.kept[now] = true
	f.hands = slices.DeleteFunc(f.hands, func(h *hand) bool { return !w.provider.newer(h.token, now) })
}

func (f *facts) conflict(rec vaultstore.Record) {
	switch {
	case rec.Pending != nil && rec.Pending.Outcome == "":
		f.path("conflict of a mark")
	case rec.Pending == nil && !f.kept[rec.RefreshToken.Reveal()]:
		f.path("conflict of an answer")
	}
}

// sealed notes a copy that reached its bucket.
func (f *facts) sealed(w *world, b bucketView, key string) {
	_, sha, _ := strings.Cut(key, ".")
	token := f.brought[b.name+sha]
	f.seals[b.place()+key] = seal{w.tick, token}
	f.kept[token] = true
	if who := f.callers[w.name(sha)]; len(who) > 0 && who[len(who)-1] != b.name {
		f.excuse(w, w.name(sha), token) // it got there too late to be found
	}
	if b.server == disk {
		f.path("spooled")
		return
	}
	f.path("escrowed")
}

// place names the bucket.
func (b bucketView) place() string {
	if b.server == disk {
		return fmt.Sprint("host ", b.host, " ")
	}
	return "bucket "
}

// ignores judges a process that takes a value for spent in vain although the
// answer was where it could have found it when it last read the record.
func (f *facts) ignores(w *world, p *process, value, what string) {
	if w.provider.mode == keepsTokens && w.provider.tokens[value] != nil {
		return // the same value may be sent for ever
	}
	key := theConnection + "." + secret.New(value).SHA256()
	for _, other := range w.hosts {
		place := bucketView{process: other, server: disk}.place()
		if _, there := other.spool[key]; there && other.host != p.host {
			f.path("a copy was out of reach")
			f.excuse(w, value, f.seals[place+key].token)
		}
	}
	for _, b := range []bucketView{{p, broker, w.escrow}, {p, disk, p.spool}} {
		if _, there := b.data[key]; there && p.escrow != "none" && f.seals[b.place()+key].tick < p.read {
			f.breachf("I2: %s %s %s, and the answer to it was kept in: %s", p.name, what, value, b.place())
		}
	}
}

// crashed forgets what only the process knew.
func (f *facts) crashed(p *process) {
	f.hands = slices.DeleteFunc(f.hands, func(h *hand) bool {
		if h.by == p {
			f.path("crashed with an answer")
		}
		return h.by == p
	})
}

// received notes that an answer is in the memory of its process.
func (f *facts) received(r *request) {
	for _, h := range f.hands {
		h.there = h.there || h.by == r.by && h.value == r.value
	}
}

// holds judges whether processes still have the answers that only they have.
func (f *facts) holds(w *world) {
	rec, _, _ := w.store.Get(w.t.Context(), theConnection)
	for _, h := range f.hands {
		n := h.by.keeper.Unstored().Answers
		if h.there && n == 0 && w.provider.newer(h.token, rec.RefreshToken.Reveal()) {
			f.breachf("I2: %s let go of %s, and something older is stored", h.by.name, h.token)
		}
	}
}

// dropped forgets an answer that did not reach its process in time.
func (f *facts) dropped(r *request) {
	f.hands = slices.DeleteFunc(f.hands, func(h *hand) bool { return r.done != nil && h.by == r.by && h.value == r.value })
}

// away notes that nothing protects the answers of a process any more.
func (f *facts) away(p *process) {
	for _, h := range f.hands {
		h.lost = h.lost || h.by == p
	}
}

// finished judges how a job ended.
func (f *facts) finished(w *world, j finished) {
	switch {
	case j.err == nil && j.what == "exchange" && !f.codes[j.code]:
		f.breachf("I4: %s says that %s was exchanged, and its tokens are not stored", j.by.name, j.code)
	case errors.Is(j.err, custody.ErrCodeRejected):
		f.path("code rejected")
		if c := w.provider.codes[j.code]; j.what == "exchange" && c.family != nil && !f.excused[c.family] {
			f.breachf("I4: %s says that %s was rejected, and it was spent", j.by.name, j.code)
		}
	case errors.Is(j.err, custody.ErrRefreshRejected):
		f.path("token rejected")
		if !f.mayBeRejected(w) {
			f.breachf("I4: %s says that the token was rejected, and nobody took it back", j.by.name)
		}
	case errors.Is(j.err, custody.ErrExchangeUnknown):
		f.path("exchange unknown")
	case errors.Is(j.err, custody.ErrRotationUnknown):
		f.path("rotation unknown")
		f.mayBeUnknown(w, j)
	case j.err != nil && fault.Of(j.err) == fault.GiveUp:
		f.breachf("%s gives up: %v", j.by.name, j.err)
	case j.err != nil && strings.Contains(j.err.Error(), "may be under way"):
		f.path("waits for a young mark")
	case j.err != nil && strings.Contains(j.err.Error(), "went by between mark and call"):
		f.path("too late to call")
	}
}

// mayBeRejected reports whether there is a reason for refusing a token that no
// earlier call explains.
func (f *facts) mayBeRejected(w *world) bool {
	for _, t := range w.provider.tokens {
		if t.family.user || f.excused[t.family] {
			return true
		}
	}
	return false
}

// mayBeUnknown judges an alarm: the token that was found must have been spent, and what
// it brought must not be there for everybody to read.
func (f *facts) mayBeUnknown(w *world, j finished) {
	t := w.provider.tokens[j.by.saw]
	if !j.alone {
		return // it may speak of what another job saw
	}
	if t == nil || t.family.user || f.excused[t.family] || j.by.replay == custody.ReplayNever {
		return
	}
	if slices.Contains(f.callers[t.value], j.by.name) {
		f.ignores(w, j.by, t.value, "gives up on")
	}
	if f.excused[t.family] {
		return
	}
	if w.provider.graceful() {
		f.breachf("I5: %s says that the outcome is unknown, and the provider has a grace window", j.by.name)
	}
	if t.child == nil && !t.family.revoked {
		f.breachf("I4: %s says that the outcome is unknown, and %s works", j.by.name, t.value)
	}
}
