package custody

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// holding knows the spending calls of this process, from before the mark until
// the tokens are stored. A process that ends before they are over loses tokens.
type holding struct {
	mu    sync.Mutex
	holds map[*hold]struct{}
	idle  chan struct{} // closed when the last hold is left
	shut  bool          // no call may begin any more
}

// hold is one spending call.
type hold struct {
	in    *holding
	since time.Time // when finX handed tokens out; zero before
	spool bool      // a sealed copy is on this host
	copy  bool      // a sealed copy is where all replicas can bring it home
}

func (h *holding) enter() (_ *hold, open bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut {
		return nil, false
	}
	if len(h.holds) == 0 {
		h.holds, h.idle = map[*hold]struct{}{}, make(chan struct{})
	}
	one := &hold{in: h}
	h.holds[one] = struct{}{}
	return one, true
}

// tokens notes that the newest tokens are in this process and nowhere else.
func (o *hold) tokens() {
	o.in.mu.Lock()
	defer o.in.mu.Unlock()
	o.since = time.Now()
}

// spooled notes that a sealed copy of them is in this host's spool.
func (o *hold) spooled() {
	o.in.mu.Lock()
	defer o.in.mu.Unlock()
	o.spool = true
}

// copied notes that a sealed copy of them is in the escrow bucket.
func (o *hold) copied() {
	o.in.mu.Lock()
	defer o.in.mu.Unlock()
	o.copy = true
}

func (o *hold) leave() {
	o.in.mu.Lock()
	defer o.in.mu.Unlock()
	delete(o.in.holds, o)
	if len(o.in.holds) == 0 {
		close(o.in.idle)
	}
}

// Unstored is what this process holds because Vault has not taken it yet.
type Unstored struct {
	Answers int           // tokens of so many connections
	Oldest  time.Duration // since when the longest of them
	Escrow  int           // of these, with a copy that every replica can bring home
	Spool   int           // of the others, with a copy on this host only
}

// Unstored says what Vault has not taken. A process that holds answers with no
// copy anywhere must not be stopped by force.
func (k *Keeper) Unstored() (u Unstored) {
	k.holding.mu.Lock()
	defer k.holding.mu.Unlock()
	for one := range k.holding.holds {
		switch {
		case one.since.IsZero():
			continue // under way: nothing is in hand
		case one.copy:
			u.Escrow++
		case one.spool:
			u.Spool++
		}
		u.Answers++
		u.Oldest = max(u.Oldest, time.Since(one.since))
	}
	return u
}

// Exposed returns how many spending calls would lose something if this process
// ended now: those under way, and those whose tokens are neither in Vault nor in
// the escrow bucket.
func (k *Keeper) Exposed() (n int) {
	k.holding.mu.Lock()
	defer k.holding.mu.Unlock()
	for one := range k.holding.holds {
		if !one.copy {
			n++
		}
	}
	return n
}

// Stop lets no spending call begin any more; those under way go on. A drain calls
// it before Wait: a refresh that nobody waits for may still be on its way to its mark.
func (k *Keeper) Stop() {
	k.holding.mu.Lock()
	defer k.holding.mu.Unlock()
	k.holding.shut = true
}

// Wait returns when no spending call is under way and every token in hand is
// stored, or with an error when ctx ends first. A drain calls it after the last
// delivery was settled: a refresh may outlive the delivery that asked for it.
func (k *Keeper) Wait(ctx context.Context) error {
	for {
		k.holding.mu.Lock()
		idle, n := k.holding.idle, len(k.holding.holds)
		k.holding.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return fmt.Errorf("custody: %d spending calls are not over: %w", n, context.Cause(ctx))
		}
	}
}
