package guard

import (
	"context"
	"time"
)

const (
	// step is between the lanes when a probe is due, the most urgent first: mostly
	// one delivery is taken, and not one a lane.
	step = 150 * time.Millisecond
	// another is how long after a delivery that was to be the probe a lane may take
	// one more: the first may have made no call.
	another = 2 * time.Second
)

// grant is when a lane was let take one delivery, in which episode.
type grant struct {
	episode uint64
	at      time.Time
}

// Wait blocks while calls of that priority would be refused. Then it returns how
// many of n deliveries may be taken: all while the server is asked; one of them, to
// each lane now and then, while it is on probation; and one, to one lane after the
// other, when a probe is due that only a call can make.
// It returns 0 when ctx has ended.
func (g *Guard) Wait(ctx context.Context, p Priority, n int) int {
	if g == nil {
		if ctx.Err() != nil {
			return 0
		}
		return n
	}
	p = min(p, Page)
	for {
		if n <= 0 || ctx.Err() != nil {
			return 0
		}
		g.mu.Lock()
		now, changed := clock(), g.changed
		if !g.b.cur.isOpen() && !g.b.cur.isOnProbation() {
			g.mu.Unlock()
			return n
		}
		at, may := g.laneAt(now, p)
		if may && !now.Before(at) {
			g.granted[p] = grant{g.b.episode, now}
			g.mu.Unlock()
			return 1
		}
		g.mu.Unlock()
		untilOr(ctx, changed, at.Sub(now), may)
	}
}

// laneAt is when a lane may take a delivery to probe with; may is false when
// deliveries never do. For holders of mu, while open or on probation.
func (g *Guard) laneAt(now time.Time, p Priority) (at time.Time, may bool) {
	switch {
	case g.b.cur.isOnProbation(): // each of them: the queue decides who goes first
		at = now
	case g.cfg.ProbeWith != nil && g.running:
		return time.Time{}, false
	default:
		at = g.b.dueAt(now).Add(time.Duration(p) * step)
	}
	if last := g.granted[p]; last.episode == g.b.episode && last.at.Add(another).After(at) {
		at = last.at.Add(another)
	}
	return at, true
}

// untilOr waits for the change, and at most d where that is bounded.
func untilOr(ctx context.Context, changed <-chan struct{}, d time.Duration, bounded bool) {
	var late <-chan time.Time
	if bounded {
		t := time.NewTimer(d)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-changed:
	case <-late:
	case <-ctx.Done():
	}
}
