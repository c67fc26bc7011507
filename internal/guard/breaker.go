package guard

import "time"

// sick is for how long a process that was overruled keeps its openings to itself.
const sick = 5 * time.Minute

// breaker is what this process knows of a server and makes of its answers. It does
// no input or output and has no lock: its owner holds one.
//
// own is what only this process knows: not shared yet, because the store is slow
// or away, or never to be, because the trouble seems to be this process's alone.
// common is what the replicas share, as last heard, or as this process is about to
// write it. cur is both together, and what counts here.
type breaker struct {
	lim      limits
	failures int
	holder   string
	shares   bool        // there is a store
	several  func() bool // there are other replicas

	own, common, cur state

	revision uint64    // of the stored value that was heard of last
	known    bool      // there was one
	private  time.Time // until then, openings of kind away are this process's own
	alone    bool      // own is such an opening
	wish     *wish     // to be written to the store
	inRow    int       // Away answers without an Alive in between
	probe    *probe    // this process's
	epoch    uint64    // grows when it opens and when it closes
	episode  uint64    // grows when there is another time to wait for
}

// probe is one call that finds out.
type probe struct{ until time.Time }

// call is one that was let through.
type call struct {
	epoch    uint64
	probe    *probe
	observed bool // it was not let through, but heard of
	asks     bool // it only asked whether the server works
}

// wish is a change that is to be made to what is stored, whatever that is by then.
type wish struct {
	change func(now time.Time, stored state) (next state, changed bool)
	own    state // what the change makes known to all
}

// apply makes the change. idle: this process does not probe, so what is stored of a
// probe of its own is over.
func (w *wish) apply(now time.Time, stored state, idle bool, holder string) (next state, changed bool) {
	released := false
	if idle {
		stored, released = stored.released(holder)
	}
	next, changed = w.change(now, stored)
	return next, changed || released
}

// probing reports whether a call of this process finds out right now.
func (b *breaker) probing(now time.Time) bool {
	return b.probe != nil && now.Before(b.probe.until)
}

// dueAt is when this process may probe next: never before what was asked for, and
// not while anybody probes. For an open breaker.
func (b *breaker) dueAt(now time.Time) time.Time {
	at := b.cur.probeFrom(b.holder, b.common.isOpen() && b.several())
	if b.probing(now) && b.probe.until.After(at) {
		at = b.probe.until
	}
	if by := b.cur.probedBy(now); by != "" && by != b.holder && b.cur.ProbeUntil.After(at) {
		at = b.cur.ProbeUntil
	}
	return at
}

// probed reports whether anybody finds out right now.
func (b *breaker) probed(now time.Time) bool {
	by := b.cur.probedBy(now)
	return b.probing(now) || by != "" && by != b.holder
}

// answer takes in how a call ended.
func (b *breaker) answer(now time.Time, c call, a Answer) {
	var (
		probes  = c.probe != nil && c.probe == b.probe
		current = c.observed || c.epoch == b.epoch || c.probe != nil
	)
	if probes {
		b.probe = nil
	}
	switch {
	case a.Kind == Alive && current:
		b.inRow = 0
		if b.cur.closable(now) || b.cur.isOnProbation() && !c.asks {
			b.close(now, c.asks)
			return
		}
	case a.Kind == Away:
		b.away(now, c, a, probes)
		return
	case a.Kind == Throttled:
		b.throttled(now, a, probes, current)
		return
	}
	if probes {
		b.release()
	}
}

// away takes in that there was no usable answer. While it is open only the probe
// counts, so that what was under way before makes the wait no longer; and what was
// begun before it closed says nothing about the time since. On probation one is
// enough.
func (b *breaker) away(now time.Time, c call, a Answer, probes bool) {
	f := failure{kind: kindAway, why: a.Why}
	switch {
	case probes:
		b.trip(now, f)
	case b.cur.isOpen():
		if c.observed && !b.probing(now) && !now.Before(b.cur.OpenUntil) {
			b.trip(now, f) // nobody is held back from this server: any call is a probe
		}
	case c.observed || c.epoch == b.epoch:
		if b.inRow++; b.inRow >= b.failures || b.cur.isOnProbation() {
			b.trip(now, f)
		}
	}
}

// throttled takes in that the server asks everybody to stay away. A time it names
// always counts; without one, only the first answer of many that were under way.
func (b *breaker) throttled(now time.Time, a Answer, probes, current bool) {
	f := failure{kind: kindThrottled, until: utc(a.Until), why: a.Why}
	named := f.until.After(now)
	waits := b.cur.isOpen() && (now.Before(b.cur.OpenUntil) || !probes && b.probed(now))
	switch {
	case waits && named:
		b.extend(now, f)
	case waits:
	case probes, named, current:
		b.trip(now, f)
		return
	}
	if probes {
		b.release()
	}
}

// trip opens, or opens again.
func (b *breaker) trip(now time.Time, f failure) {
	f.holder, f.jitter = b.holder, jitter()
	b.inRow = 0
	if f.kind == kindAway && (now.Before(b.private) || b.alone) {
		// Others find it working. They are spared even while this lasts longer.
		b.alone, b.private = true, now.Add(sick)
		if b.cur.isOnProbation() {
			b.own = b.cur // it goes on counting
		}
		b.own = b.own.opened(now, f, b.lim)
		b.release()
		return
	}
	b.tell(now, b.cur.opened(now, f, b.lim))
}

// extend puts the time off until which nobody may ask.
func (b *breaker) extend(now time.Time, f failure) {
	f.holder = b.holder
	if next, changed := b.cur.extended(f); changed {
		b.tell(now, next)
	}
}

// tell lets an opening count here at once, and everywhere as soon as it is stored:
// unless another found the server working since, and it named no time.
func (b *breaker) tell(found time.Time, next state) {
	next.Prober, next.ProbeUntil = "", time.Time{} // the store knows better who probes
	b.own, b.alone = next, false
	if b.probe == nil {
		b.common, _ = b.common.released(b.holder)
	}
	if !b.shares {
		return
	}
	b.wish = &wish{own: next, change: func(now time.Time, stored state) (state, bool) {
		if stored.ClosedAt.After(found) && next.closable(now) {
			return stored, false
		}
		return stored.merged(now, next), true
	}}
}

// close lets everybody ask again, on probation or for good, which ends a probation:
// this process at once, the others as soon as it is stored. It is about this episode
// and no later one.
func (b *breaker) close(now time.Time, probation bool) {
	common, own := b.common.Since, b.own.Since
	ends := b.common.isOpen() || b.common.isOnProbation() && !probation
	shared := ends || b.wish != nil
	if ends {
		b.common = b.common.closed(now, b.holder, probation)
	}
	if probation && b.own.isOpen() {
		b.own = b.own.closed(now, b.holder, true)
	} else {
		b.own = state{}
	}
	b.alone, b.wish, b.inRow, b.probe = false, nil, 0, nil
	if !b.shares || !shared {
		return
	}
	b.wish = &wish{change: func(now time.Time, stored state) (state, bool) {
		same := stored.Since.Equal(common) || stored.Since.Equal(own)
		if !same || !stored.closable(now) && (probation || !stored.isOnProbation()) {
			return stored, false
		}
		return stored.closed(now, b.holder, probation), true
	}}
}

// release gives this process's probe back, so that another may make it.
func (b *breaker) release() {
	b.probe = nil
	next, changed := b.common.released(b.holder)
	if !changed {
		return
	}
	b.common = next
	if b.wish == nil {
		b.wish = &wish{change: func(_ time.Time, stored state) (state, bool) { return stored, false }}
	}
}

// learn takes over what is stored. Older news than what is known is ignored.
func (b *breaker) learn(now time.Time, stored state, revision uint64) {
	if revision <= b.revision {
		return
	}
	b.common, b.revision, b.known = stored.bounded(now, b.lim), revision, true
	if b.wish != nil && !b.wish.own.isOpen() {
		b.common, _ = b.wish.apply(now, b.common, b.probe == nil, b.holder) // it will be so in a moment
	}
	if b.own.isOnProbation() && stored.Since.Equal(b.own.Since) {
		b.own = state{} // the others know, and one of them may end it
	}
	if stored.Overruled == b.holder && now.Before(stored.ClosedAt.Add(sick)) {
		b.private = stored.ClosedAt.Add(sick)
	}
}

// told notes that a wish was written, with what is stored now.
func (b *breaker) told(w *wish, now time.Time, stored state, revision uint64) {
	b.learn(now, stored, revision)
	if b.wish != w {
		return // there is a newer one
	}
	b.wish = nil
	if w.own.isOpen() && b.own == w.own {
		b.own = state{}
	}
}

// deleted takes in that nothing is stored. Where something was, somebody wants the
// server to be asked: everything is forgotten.
func (b *breaker) deleted(revision uint64) {
	if revision != 0 && revision < b.revision {
		return // something was stored since
	}
	b.revision = revision
	if !b.known {
		return
	}
	b.known, b.private, b.inRow, b.probe, b.common = false, time.Time{}, 0, nil, state{}
	if b.wish != nil && b.wish.own.isOpen() {
		return // what nobody has been told yet is younger than the deletion
	}
	b.own, b.alone, b.wish = state{}, false, nil
}

// settle brings both views together after something has changed.
func (b *breaker) settle(now time.Time) (before, after state) {
	before, b.cur = b.cur, b.common.merged(now, b.own)
	if before.isOpen() != b.cur.isOpen() {
		b.epoch++
		b.inRow = 0
	}
	if !b.cur.isOpen() {
		b.probe = nil
	}
	if !before.OpenUntil.Equal(b.cur.OpenUntil) {
		b.episode++
	}
	return before, b.cur
}

// utc is a time that is the same after it was stored.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.Round(0).UTC()
}
