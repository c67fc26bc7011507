package custody_test

import (
	"errors"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// manyTries is more often than anything takes once everything works.
const manyTries = 20

// quiet lets everything happen that is on its way.
func (s *scheduler) quiet() {
	for range 10000 {
		<-time.After(time.Millisecond)
		s.attend()
		s.check()
		all := s.w.waiting()
		switch {
		case len(all) > 0:
			s.grant(all[0])
		case s.w.running("") > 0:
			s.advance(time.Second) // somebody waits for a time
		default:
			for _, p := range s.w.hosts {
				p.adrift = false
			}
			return
		}
	}
	s.w.facts.breachf("it never comes to rest")
	s.check()
}

// mustEnd does a job until it ends in a way that is final, and returns that.
func (s *scheduler) mustEnd(host int, what, code string) error {
	var err error
	for range manyTries {
		s.last = nil
		s.begin(host, what, code)
		s.quiet()
		err = s.last.err
		switch {
		case err == nil, errors.Is(err, custody.ErrRotationUnknown), errors.Is(err, custody.ErrRefreshRejected), errors.Is(err, custody.ErrNoTokens),
			errors.Is(err, custody.ErrCodeRejected), errors.Is(err, custody.ErrExchangeUnknown):
			return err
		}
		wait := 5 * time.Second
		if until, ok := fault.Until(err); ok {
			wait = max(time.Second, time.Until(until))
		}
		s.advance(wait)
	}
	s.w.facts.breachf("I4: %s is tried again for ever: %v", what, err)
	s.check()
	return err
}

// finalWord is what the last process makes of it.
func (s *scheduler) finalWord() error {
	if c := s.codes[len(s.codes)-1]; !c.settled {
		s.w.logf("the code in the end: %v", s.mustEnd(0, "exchange", c.value))
	}
	for range 2 { // a second time, because only use shows that a token is good
		s.advance(time.Hour)
		if err := s.mustEnd(0, "access", ""); err != nil {
			return err
		}
	}
	return nil
}

// judge compares the end with what an observer knows.
func (s *scheduler) judge(last error) {
	w, f := s.w, &s.w.facts
	for _, p := range w.hosts {
		if p.given != 0 && !p.dead {
			f.breachf("I8: %s did not give back %d turns", p.name, p.given)
		}
	}
	best := w.newestKept()
	rec, _, _ := w.store.Get(s.t.Context(), theConnection)
	now := w.provider.tokens[rec.RefreshToken.Reveal()]
	switch {
	case best == nil:
		if !errors.Is(last, custody.ErrNoTokens) {
			f.breachf("I4: nobody has tokens, and the end is %v", last)
		}
	case best.family.user || f.excused[best.family]:
	case last == nil && now.family != best.family:
		f.breachf("I2: %s is stored, and %s was received later and kept", now.value, best.value)
	case last == nil && (now.dead || now.family.newest != now):
		f.breachf("I2: %s is stored, the newest is %s", now.value, now.family.newest.value)
	case last == nil, s.w.hosts[0].replay == custody.ReplayNever:
	case w.provider.graceful():
		f.breachf("I5: lost in spite of the grace window: %v", last)
	case best == best.family.newest && !best.dead:
		f.breachf("I2: %s was received and kept, and the end is %v", best.value, last)
	case !errors.Is(last, custody.ErrRotationUnknown):
		f.breachf("I4: what followed %s was lost, and the end is %v", best.value, last)
	default:
		f.path("lost and said so")
	}
}

// newestKept is the newest refresh token that was stored or sealed.
func (w *world) newestKept() *token {
	best := ""
	for value, kept := range w.facts.kept {
		if kept && w.provider.newer(value, best) {
			best = value
		}
	}
	return w.provider.tokens[best]
}
