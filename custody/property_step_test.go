package custody_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// event is something that may happen next; of two, the one with twice the
// weight happens twice as often.
type event struct {
	weight int
	happen func()
}

// step lets one thing happen.
func (s *scheduler) step() {
	if s.chance("trouble", s.trouble) {
		s.choose(s.troubles())
		return
	}
	var all []event
	add := func(weight int, happen func()) { all = append(all, event{weight, happen}) }
	moving := false
	for _, r := range s.w.waiting() {
		switch {
		case !r.by.paused && r.answer != nil:
			moving = true
			add(8, func() { s.grant(r) })
		case r.done == nil:
			add(3, func() { s.grant(r) })
		}
	}
	for i, p := range s.w.hosts {
		switch {
		case p.dead:
			add(4, func() { s.start(i) })
		case p.paused:
			add(weigh(moving, 1, 4), func() { s.resume(p) })
		default:
			add(max(1, 6-4*len(p.jobs)), func() { s.job(i) })
		}
		if !p.dead && !p.paused && s.w.calls(p) {
			add(6, func() { s.takeOver(i) })
		}
		for _, to := range []server{vault, broker} {
			if p.cut[to] {
				add(2, func() { s.cut(p, to, false) })
			}
		}
	}
	if moving {
		add(2, func() { s.advance(s.soon()) })
	} else {
		add(8, func() { s.advance(s.later()) })
	}
	s.choose(all)
}

func weigh(cond bool, yes, no int) int {
	if cond {
		return yes
	}
	return no
}

func (s *scheduler) choose(all []event) {
	total := 0
	for _, e := range all {
		total += e.weight
	}
	n := s.draw("event") % total
	for _, e := range all {
		if n -= e.weight; n < 0 {
			e.happen()
			return
		}
	}
}

// soon is a time in which nothing need time out, later one in which much does.
func (s *scheduler) soon() time.Duration {
	return []time.Duration{
		300 * time.Millisecond, time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second, 5 * time.Second, worldCall, 25 * time.Second,
	}[s.draw("soon")%8]
}

func (s *scheduler) later() time.Duration {
	return []time.Duration{
		3 * time.Second, 7 * time.Second, worldCall, 25 * time.Second, 25 * time.Second, accessLife, accessLife, 2 * time.Minute, codeLife,
	}[s.draw("later")%9]
}

func (s *scheduler) advance(d time.Duration) {
	s.w.logf("%s go by", d)
	time.Sleep(d) // on the clock of the bubble
}

// attend brings everybody up to date: new requests are judged, late ones end.
func (s *scheduler) attend() {
	for busy := true; busy; {
		synctest.Wait()
		busy = false
		for _, l := range s.w.leases.settle(time.Now()) {
			busy = true
			s.w.logf("%s loses the lock", l.by.name)
			s.w.facts.away(l.by)
			l.cancel(connection.ErrLeaseLost)
			if slices.ContainsFunc(s.w.waiting(), func(r *request) bool { return r.by == l.by && r.to == finX }) {
				s.w.facts.path("lease lost with a call in flight")
			}
		}
		for _, r := range s.w.waiting() {
			busy = s.look(r) || busy
		}
		for _, j := range s.w.collect() {
			s.w.logf("%s: %s %s ends: %s", j.by.name, j.what, j.code, verdict(j.err))
			s.w.facts.finished(s.w, j)
			s.note(j)
		}
	}
	s.w.facts.holds(s.w)
}

// look judges a new request and ends one that is not waited for any more. It
// reports whether somebody may go on.
func (s *scheduler) look(r *request) bool {
	w := s.w
	if r.answer == nil { // it may take effect until its time is over
		if time.Now().After(r.until) {
			w.finish(r, reply{})
		}
		return false
	}
	ended := w.hasEnded(r)
	fresh := !r.seen
	r.seen = true
	if fresh && r.to == finX {
		w.facts.begins(w, r)
	}
	if age := time.Since(r.begun); r.to == finX && !r.by.paused && (ended && age < worldCall || !ended && age > worldCall+time.Minute) {
		w.facts.breachf("I7: after %s the call of %s with %s is over: %t", age, r.by.name, r.value, ended)
	}
	if !ended {
		return false
	}
	if r.by.paused {
		r.over = true // it takes effect now or never
		return false
	}
	switch {
	case r.done != nil && s.chance("answer in time", 50):
		s.deliver(r)
		return true
	case r.done == nil && !fresh && r.writes && !r.over && s.chance("took effect", 50):
		a := r.act()
		w.logf("%s: %s %s takes effect and times out: %s", r.by.name, r.what, r.value, w.tell(r, a))
		s.lostAnswer(r, a)
	default:
		w.logf("%s: %s %s times out", r.by.name, r.what, r.value)
	}
	w.facts.maybeSpent[r.value] = r.to == finX
	if r.done != nil && r.done.lease != nil {
		r.done.lease.until = time.Now().Add(worldLease) // nobody will renew it
	}
	w.facts.dropped(r)
	w.finish(r, reply{err: r.lost})
	return true
}

// grant lets a request take effect, or its answer through.
func (s *scheduler) grant(r *request) {
	w := s.w
	switch {
	case r.done != nil:
		s.deliver(r)
	case r.over:
		return
	case r.by.cut[r.to]:
		w.logf("%s: %s %s does not get through", r.by.name, r.what, r.value)
		w.finish(r, reply{err: fault.Transient("", errAway)})
	case !s.saved && !r.by.paused && r.answer != nil && s.chance("goes wrong", s.rough):
		s.fail(r)
	default:
		a := r.act()
		w.logf("%s: %s %s: %s", r.by.name, r.what, r.value, w.tell(r, a))
		if r.answer == nil {
			if r.to == finX && a.err == nil {
				w.facts.path("crashed with a call in flight")
			}
			w.finish(r, a)
			return
		}
		if r.to == finX {
			w.facts.answered(w, r, a)
		}
		r.done = &a
		if !r.by.paused && (s.saved || !s.chance("answer later", 30)) {
			s.deliver(r)
		}
	}
}

func (s *scheduler) deliver(r *request) {
	s.w.facts.received(r)
	s.w.finish(r, *r.done)
}

// fail lets a request go wrong in one of the ways there are.
func (s *scheduler) fail(r *request) {
	w := s.w
	ways := 2
	switch {
	case r.what == "put" || r.what == "seal":
		ways = 4
	case r.writes:
		ways = 3
	}
	switch s.draw("how") % ways {
	case 0:
		w.logf("%s: %s %s fails", r.by.name, r.what, r.value)
		w.finish(r, reply{err: fault.Transient("", errAway)})
	case 1:
		w.facts.maybeSpent[r.value] = r.to == finX
		w.logf("%s: %s %s is lost", r.by.name, r.what, r.value)
		w.finish(r, reply{err: r.lost})
	case 2:
		a := r.act()
		w.logf("%s: the answer to %s %s is lost: %s", r.by.name, r.what, r.value, w.tell(r, a))
		s.lostAnswer(r, a)
		w.finish(r, reply{err: r.lost})
	case 3:
		w.logf("%s: no answer to %s, which takes effect later", r.by.name, r.what)
		if r.what == "put" {
			w.facts.path("put lost and stored later")
		}
		r.answer <- reply{err: r.lost}
		r.answer = nil
	}
}

func (s *scheduler) lostAnswer(r *request, a reply) {
	s.w.facts.maybeSpent[r.value] = r.to == finX
	switch {
	case r.to == finX && a.err == nil:
		s.w.facts.path("answer lost")
	case r.what == "put" && a.err == nil:
		s.w.facts.path("put lost and stored")
	case r.what == "lock" && a.lease != nil:
		a.lease.until = time.Now().Add(worldLease) // nobody will renew it
	}
}

// note is what a caller remembers of a code.
func (s *scheduler) note(j finished) {
	s.last = &j
	if j.what != "exchange" {
		return
	}
	if j.err == nil || errors.Is(j.err, custody.ErrCodeRejected) || errors.Is(j.err, custody.ErrExchangeUnknown) {
		s.w.provider.codes[j.code].settled = true
	}
}

// job has a living process do something.
func (s *scheduler) job(host int) {
	what := s.pick("job", "access", "access", "access", "access", "exchange", "renew", "rotate", "resolve", "home", "exchanged")
	code := s.codes[len(s.codes)-1].value
	if what == "home" && s.w.hosts[host].escrow == "none" {
		what = "access"
	}
	s.begin(host, what, code)
}

func (s *scheduler) begin(host int, what, code string) {
	p := s.w.hosts[host]
	s.w.logf("%s begins: %s", p.name, what)
	ctx, cancel := context.WithCancel(s.t.Context())
	s.born++
	n := s.born
	alone := s.w.enter(p, what, n, cancel)
	rec, _, _ := s.w.store.Get(s.t.Context(), theConnection)
	s.jobs.Go(func() {
		defer cancel()
		err := p.work(ctx, what, code, rec.AccessToken)
		s.w.leave(finished{by: p, what: what, code: code, alone: alone, err: err}, n)
	})
}

// work is one call of the keeper.
func (p *process) work(ctx context.Context, what, code string, dead secret.Text) (err error) {
	switch k := p.keeper; what {
	case "access":
		_, err = k.Access(ctx, theConnection)
	case "renew":
		_, err = k.Renew(ctx, theConnection, dead)
	case "rotate":
		_, err = k.Rotate(ctx, theConnection, time.Now().Add(-time.Minute))
	case "exchange":
		_, err = k.Exchange(ctx, theConnection, secret.New(code), redirectURI)
	case "exchanged":
		_, _, err = k.Exchanged(ctx, theConnection, secret.New(code))
	case "resolve":
		err = k.Resolve(ctx, theConnection, codeLife)
	case "home":
		_, err = k.BringHome(ctx)
	default:
		err = fmt.Errorf("no such job: %s", what)
	}
	return err
}
