package custody_test

import "time"

// troubles are what may befall processes and people.
func (s *scheduler) troubles() []event {
	var all []event
	add := func(weight int, happen func()) { all = append(all, event{weight, happen}) }
	for _, p := range s.w.hosts {
		if p.dead {
			continue
		}
		if !p.paused {
			add(3, func() { s.pause(p) })
		}
		add(weigh(s.w.calls(p), 4, 2), func() { s.crash(p) })
		if len(p.jobs) > 0 {
			add(1, func() { s.giveUp(p) })
		}
		for _, to := range []server{vault, broker} {
			if !p.cut[to] {
				add(1, func() { s.cut(p, to, true) })
			}
		}
	}
	if l := s.w.leases.holder; l != nil {
		add(2, func() { s.loseLease(l) })
	}
	add(1, func() { s.advance(s.later()) })
	if s.settledCode() {
		add(6, s.renewal)
	}
	if s.draw("the user")%20 == 19 {
		add(2, s.takeBack)
	}
	return all
}

func (s *scheduler) pause(p *process) {
	s.w.logf("%s stands still", p.name)
	p.paused = true
	s.w.leases.stall(p)
	s.w.facts.away(p)
}

// takeOver has another host look at the connection about when the mark of a call
// counts as abandoned.
func (s *scheduler) takeOver(host int) {
	p := s.w.hosts[host]
	switch s.draw("why") % 4 {
	case 0:
		s.pause(p)
	case 1:
		s.pause(p)
		for _, r := range s.w.waiting() {
			if r.by == p && r.to == finX && r.done == nil {
				s.grant(r) // it will find the answer when it goes on
			}
		}
	case 2:
		if l := s.w.leases.holder; l != nil {
			s.loseLease(l)
		}
	case 3:
		s.crash(p)
	}
	s.advance(time.Duration(11+s.draw("patience")%14) * time.Second)
	s.attend()
	other := (host + 1) % len(s.w.hosts)
	if q := s.w.hosts[other]; q.dead {
		s.start(other)
	} else {
		s.resume(q)
	}
	s.begin(other, s.pick("job", "access", "access", "exchange", "resolve"), s.codes[len(s.codes)-1].value)
}

func (s *scheduler) resume(p *process) {
	if p.paused {
		s.w.logf("%s goes on", p.name)
	}
	p.paused = false
}

func (s *scheduler) crash(p *process) {
	if !p.dead {
		s.w.logf("%s crashes", p.name)
		s.w.crash(p)
	}
}

func (s *scheduler) cut(p *process, to server, off bool) {
	s.w.logf("%s reaches %s: %t", p.name, to, !off)
	p.cut[to] = off
	if off && to == broker {
		s.w.leases.stall(p)
		s.w.facts.away(p)
	}
}

func (s *scheduler) loseLease(l *lease) {
	if s.w.leases.holder == l {
		s.w.logf("the lock of %s is taken away", l.by.name)
		s.w.leases.holder = nil
		s.w.facts.away(l.by)
	}
}

// giveUp is the end of a delivery's time, or of a process that was told to stop.
func (s *scheduler) giveUp(p *process) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	p.adrift = true
	for _, cancel := range p.jobs {
		cancel()
	}
	s.w.logf("%s: nobody waits for the jobs any more", p.name)
}

// takeBack is a user who ends the access.
func (s *scheduler) takeBack() {
	s.w.logf("the user takes the access back")
	for _, t := range s.w.provider.tokens {
		t.family.user = true
	}
}

// renewal is a user who approves once more, after the last code came to its end.
func (s *scheduler) renewal() {
	if len(s.codes) < 4 {
		s.advance(15 * time.Second) // no human is faster than clocks may differ
		s.codes = append(s.codes, s.w.provider.newCode(time.Now()))
		s.w.know(s.codes[len(s.codes)-1].value)
		s.w.logf("the user approves: %s", s.codes[len(s.codes)-1].value)
	}
}

// settledCode reports whether the newest code came to its end and nobody is at
// work with it any more.
func (s *scheduler) settledCode() bool {
	return s.codes[len(s.codes)-1].settled && s.w.running("exchange") == 0
}
