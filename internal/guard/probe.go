package guard

import (
	"context"
	"errors"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// probe asks the server itself whenever that is due, until ctx ends.
func (g *Guard) probe(ctx context.Context) {
	for ctx.Err() == nil {
		g.mu.Lock()
		now, changed, open := clock(), g.changed, g.b.cur.isOpen()
		var at time.Time
		if open {
			at = g.b.dueAt(now)
		}
		if !open || now.Before(at) {
			g.mu.Unlock()
			untilOr(ctx, changed, at.Sub(now), open)
			continue
		}
		p := g.claim(ctx, now)
		if p == nil {
			g.mu.Unlock()
			pause(ctx, step) // whoever is faster has told by then
			continue
		}
		c := g.admit(clock())
		c.probe, c.asks = p, true
		g.meter.probed()
		g.mu.Unlock()
		g.end(c, g.ask(ctx))
	}
}

// ask makes one probe.
func (g *Guard) ask(ctx context.Context) Answer {
	asking, cancel := context.WithTimeout(ctx, g.cfg.Probe)
	defer cancel()
	err := g.cfg.ProbeWith(asking)
	var fe *fault.Error
	switch {
	case err == nil:
		return Answer{Kind: Alive}
	case ctx.Err() != nil:
		return Answer{}
	case errors.As(err, &fe) && fe.Verdict == fault.WaitUntil:
		return Answer{Kind: Throttled, Until: fe.Until, Why: err.Error()}
	}
	return Answer{Kind: Away, Why: err.Error()}
}
