package guard

import (
	"context"
	"time"
)

// ticket is a turn that was waited for before it is needed. Its fields belong to
// the lock of its Guard.
type ticket struct {
	turn     call
	used     bool
	released bool
}

// ticketKey is the key of a Guard's ticket in a context.
type ticketKey struct{ g *Guard }

// Admit waits for a turn as Begin does, before something is done that only makes
// sense when the call follows. A Begin under the returned context never waits. The
// first is refused if the server is left alone by then: nothing was sent, and a time
// that it named is kept. Repetitions of a call that was made are not refused, whatever
// happened meanwhile, and all of them count for the rate and the limits. release gives the
// turn back if no call was made, with the probe if it was to be one; after a call,
// and a second time, it does nothing more than to end the context's privilege.
func (g *Guard) Admit(ctx context.Context, p Priority) (admitted context.Context, release func(), err error) {
	if g == nil {
		return ctx, func() {}, nil
	}
	c, err := g.turn(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	t := &ticket{turn: c}
	return context.WithValue(ctx, ticketKey{g}, t), func() { g.release(t) }, nil
}

func (g *Guard) ticketOf(ctx context.Context) *ticket {
	t, _ := ctx.Value(ticketKey{g}).(*ticket)
	return t
}

// useTicket lets a call through that was admitted; false: its ticket was given
// back. The error is that of a server that was shut since.
func (g *Guard) useTicket(t *ticket) (c call, ok bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.released {
		return call{}, false, nil
	}
	now := clock()
	if t.used {
		return g.admit(now), true, nil
	}
	if g.b.cur.isOpen() && t.turn.probe == nil {
		g.giveBack(t, now)
		g.meter.refused()
		return call{}, false, g.refusal(now)
	}
	t.used = true
	if t.turn.epoch != g.b.epoch { // it goes out into another time than that it was counted in
		t.turn.epoch = g.b.epoch
		g.current++
	}
	return t.turn, true, nil
}

func (g *Guard) release(t *ticket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.used || t.released {
		t.released = true
		return
	}
	g.giveBack(t, clock())
}

// giveBack takes a ticket out that no call was made with. For holders of mu.
func (g *Guard) giveBack(t *ticket, now time.Time) {
	t.released = true
	g.forget(t.turn)
	g.pace.refund()
	g.b.answer(now, t.turn, Answer{})
	g.settle(now)
	g.serve(now)
}
