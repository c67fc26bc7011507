package guard

import (
	"context"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// Begin waits for the turn of one call of that priority: for the rate, and until
// few enough others are under way. It returns what is to be called exactly once,
// when the call has ended, with what its answer says about the server.
//
// While the server is left alone, or somebody else finds out whether it works
// again, the error has the verdict WaitUntil and the time of a next try; nothing
// was sent then, and calls that wait already get it too. Where ctx ends first it
// has that verdict as well, and wraps the cause.
func (g *Guard) Begin(ctx context.Context, p Priority) (end func(Answer), err error) {
	if g == nil {
		return ignore, nil
	}
	if t := g.ticketOf(ctx); t != nil {
		c, ok, err := g.useTicket(t)
		if err != nil {
			return nil, err
		}
		if ok {
			return func(a Answer) { g.end(c, a) }, nil
		}
	}
	c, err := g.turn(ctx, p)
	if err != nil {
		return nil, err
	}
	return func(a Answer) { g.end(c, a) }, nil
}

// ignore is the end of a call that nobody guards.
func ignore(Answer) {}

// turn waits for the turn of a call.
func (g *Guard) turn(ctx context.Context, p Priority) (call, error) {
	g.mu.Lock()
	now := clock()
	for g.b.cur.isOpen() {
		c, err := g.tryProbe(ctx, now)
		if err != nil || c.probe != nil {
			g.mu.Unlock()
			return c, err
		}
		now = clock()
	}
	gives := g.b.cur.isOnProbation() && spends(p)
	if g.queue.len() == 0 && !gives && g.limit.room(g.current, g.total) && g.pace.wait(now) <= 0 {
		c := g.admit(now)
		g.mu.Unlock()
		g.meter.waited(0)
		return c, nil
	}
	w := g.queue.add(now, p)
	g.serve(now)
	g.meter.queued(g.queue.len())
	g.mu.Unlock()

	select {
	case <-w.ready:
	case <-ctx.Done():
		if err := g.leave(ctx, w); err != nil {
			return call{}, err
		}
	}
	if w.err != nil {
		return call{}, w.err
	}
	g.meter.waited(time.Since(now))
	return w.turn, nil
}

// leave takes out of the queue who no longer waits; nil: its turn, or its refusal,
// came in the same moment.
func (g *Guard) leave(ctx context.Context, w *waiter) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.queue.remove(w) {
		return nil
	}
	g.meter.queued(g.queue.len())
	return g.givenUp(ctx, clock())
}

func (g *Guard) givenUp(ctx context.Context, now time.Time) error {
	return fault.Throttled(fault.Dependency(g.cfg.Name), now.Add(g.cfg.First),
		fmt.Errorf("guard: waiting for a turn at %s: %w", g.cfg.Name, context.Cause(ctx)))
}

// tryProbe lets the call be the probe, if one is due. Neither a probe nor an error:
// it closed meanwhile. For holders of mu, while open; mu may be given up in between.
func (g *Guard) tryProbe(ctx context.Context, now time.Time) (call, error) {
	if g.cfg.ProbeWith != nil && g.running || now.Before(g.b.dueAt(now)) {
		g.meter.refused()
		return call{}, g.refusal(now)
	}
	if ctx.Err() != nil {
		return call{}, g.givenUp(ctx, now)
	}
	probe := g.claim(ctx, now)
	if probe == nil {
		if now = clock(); !g.b.cur.isOpen() {
			return call{}, nil
		}
		g.meter.refused()
		return call{}, g.refusal(now)
	}
	c := g.admit(clock())
	c.probe = probe
	g.meter.probed()
	return c, nil
}

// admit counts a call in. For holders of mu.
func (g *Guard) admit(now time.Time) call {
	g.pace.take(now)
	g.total++
	g.current++
	g.peak = max(g.peak, g.current)
	g.meter.underWay(g.total)
	return call{epoch: g.b.epoch}
}

// forget counts a call out again. For holders of mu.
func (g *Guard) forget(c call) {
	g.total--
	if c.epoch == g.b.epoch {
		g.current--
	}
	g.meter.underWay(g.total)
}

// end takes in how a call ended.
func (g *Guard) end(c call, a Answer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := clock()
	g.forget(c)
	switch {
	case a.Kind == Throttled && c.probe == nil:
		g.limit.cut(now, g.peak)
		g.meter.limited(g.limit.shown())
	case a.Kind == Alive && c.epoch == g.b.epoch && !g.b.cur.isOpen():
		g.limit.succeeded()
		g.meter.limited(g.limit.shown())
	}
	g.b.answer(now, c, a)
	g.settle(now)
	g.serve(now)
}

// serve gives turns as long as there is room, and arranges for the rest. For
// holders of mu.
func (g *Guard) serve(now time.Time) {
	for g.queue.len() > 0 && g.limit.room(g.current, g.total) {
		if wait := g.pace.wait(now); wait > 0 {
			g.arm(now.Add(wait), wait)
			return
		}
		w := g.chosen(now)
		if w == nil {
			return
		}
		w.turn = g.admit(now)
		close(w.ready)
		g.meter.queued(g.queue.len())
	}
}

// chosen takes out of the queue who goes next; nil: nobody yet, and a timer will ask
// again. For holders of mu, while somebody waits.
func (g *Guard) chosen(now time.Time) *waiter {
	if !g.b.cur.isOnProbation() {
		return g.queue.next()
	}
	w, from := g.queue.trial()
	if wait := from.Sub(now); wait > 0 {
		g.arm(from, wait)
		return nil
	}
	g.queue.remove(w)
	return w
}

// arm arranges for the queue to be served at that time, if that is not done earlier.
func (g *Guard) arm(at time.Time, wait time.Duration) {
	if g.armed.IsZero() || at.Before(g.armed) {
		g.armed = at
		time.AfterFunc(wait, g.tick)
	}
}

func (g *Guard) tick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = time.Time{} // whichever timer it was: what is missing is armed again
	g.serve(clock())
}
