package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	// storeWait is how long the store has for one change. Only the one call that
	// would be the probe ever waits for it.
	storeWait = 2 * time.Second
	// storePause is how long after a failure the store is tried again.
	storePause = time.Second
	// storeRest is how long after a failure no call waits for the store.
	storeRest = 10 * time.Second
	// rounds is how often a change is tried against those of other replicas.
	rounds = 5
)

// Store keeps one small value a server for all replicas. It is safe for concurrent
// use.
type Store interface {
	// Load returns the value of key and its revision, which is of this key alone or
	// grows with every change of the store; nil and 0 when there is none, or it was
	// deleted.
	Load(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Save writes the value if the revision is still that one, 0 for a key that has
	// no value, and returns the new one. After any error the caller loads again.
	Save(ctx context.Context, key string, value []byte, revision uint64) (newRevision uint64, err error)
	// Watch calls each with the value as it is, nil when there is none, and after
	// every change with the new one, nil when it was deleted. It returns when ctx
	// has ended or the watch broke; calls of each follow each other.
	Watch(ctx context.Context, key string, each func(value []byte, revision uint64)) error
}

// errLost says that a change does not apply to what is stored by now.
var errLost = errors.New("guard: another replica was faster")

// share is the door to the store: one change of this process at a time.
type share struct {
	store Store
	key   string
	turn  chan struct{} // holds one while nobody is inside
	kick  chan struct{} // there is a wish
}

func newShare(store Store, name string) *share {
	s := &share{store: store, key: "breaker." + name, turn: make(chan struct{}, 1), kick: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// enter waits for the door, at most until ctx ends.
func (s *share) enter(ctx context.Context) (leave func(), err error) {
	select {
	case <-s.turn:
		return func() { s.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// write makes a change to what is stored and returns what is stored then. errLost:
// it does not apply, and what is stored is returned. Any other error: the store
// could not be asked. For who has entered.
func (s *share) write(ctx context.Context, change func(time.Time, state) (state, bool)) (stored state, revision uint64, err error) {
	for range rounds {
		value, revision, err := s.store.Load(ctx, s.key)
		if err != nil {
			return state{}, 0, fmt.Errorf("guard: loading %s: %w", s.key, err)
		}
		stored, err = decode(value)
		if errors.Is(err, errNewer) {
			return state{}, 0, err
		} // what else nobody can read is written over
		next, changed := change(clock(), stored)
		if !changed {
			return stored, revision, errLost
		}
		value, err = json.Marshal(versioned{next, layoutVersion})
		if err != nil {
			return state{}, 0, fmt.Errorf("guard: encoding %s: %w", s.key, err)
		}
		saved, err := s.store.Save(ctx, s.key, value, revision)
		if err == nil {
			return next, saved, nil
		}
		if ctx.Err() != nil {
			return state{}, 0, fmt.Errorf("guard: saving %s: %w", s.key, err)
		}
	}
	return state{}, 0, fmt.Errorf("guard: saving %s: %d replicas came between", s.key, rounds)
}

// layoutVersion is that of a stored state. Those of before version 0.5 have none and
// are read as 1.
const layoutVersion = 1

// versioned is a state as it is stored. The version is no part of the state: two
// states are compared as they are.
type versioned struct {
	state

	V int `json:"v"`
}

// errNewer is a state that a newer program wrote. It is neither followed nor written
// over: until this process has been upgraded it decides alone, as without the store.
var errNewer = errors.New("guard: decoding a breaker: a newer version of the program wrote it")

func decode(value []byte) (state, error) {
	if len(value) == 0 {
		return state{}, nil
	}
	var head struct {
		V int `json:"v"`
	}
	if json.Unmarshal(value, &head) == nil && head.V > layoutVersion {
		return state{}, fmt.Errorf("%w: version %d, the highest that is read is %d", errNewer, head.V, layoutVersion)
	}
	var s versioned
	if err := json.Unmarshal(value, &s); err != nil {
		return state{}, fmt.Errorf("guard: decoding a breaker: %w", err)
	}
	return s.state, nil
}

// follow keeps the common view up to date until ctx ends.
func (g *Guard) follow(ctx context.Context) {
	for {
		g.mu.Lock()
		g.b.revision = 0 // the first value counts, even of a store that was made anew
		g.mu.Unlock()
		err := g.share.store.Watch(ctx, g.share.key, g.heard)
		if ctx.Err() != nil {
			return
		}
		g.log.WarnContext(ctx, "the state of the breaker cannot be followed", "server", g.cfg.Name, "error", err)
		if !pause(ctx, storePause) {
			return
		}
	}
}

// heard takes in one value of the watch.
func (g *Guard) heard(value []byte, revision uint64) {
	stored, err := decode(value)
	if errors.Is(err, errNewer) {
		g.log.Warn("the state of the breaker is not followed", "server", g.cfg.Name, "error", err)
		return
	}
	if err != nil {
		g.log.Warn("the state of the breaker cannot be read and counts as closed", "server", g.cfg.Name, "error", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := clock()
	g.storeAway = time.Time{}
	if value == nil {
		g.b.deleted(revision)
	} else {
		g.b.learn(now, stored, revision)
	}
	g.settle(now)
}

// push writes the wishes of this process until ctx ends. What cannot be written is
// tried again as long as it is wished.
func (g *Guard) push(ctx context.Context) {
	for {
		select {
		case <-g.share.kick:
		case <-ctx.Done():
			return
		}
		for {
			done, err := g.pushOne(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				g.log.WarnContext(ctx, "the state of the breaker cannot be shared", "server", g.cfg.Name, "error", err)
				if !pause(ctx, storePause) {
					return
				}
			}
			if done {
				break
			}
		}
	}
}

// pushOne writes the wish there is; done: there is none left.
func (g *Guard) pushOne(ctx context.Context) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	leave, err := g.share.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	g.mu.Lock()
	w, idle := g.b.wish, g.b.probe == nil // a claim that is made from now on waits at the door
	g.mu.Unlock()
	if w == nil {
		return true, nil
	}
	stored, revision, err := g.share.write(ctx, func(now time.Time, s state) (state, bool) {
		return w.apply(now, s, idle, g.b.holder)
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	now := clock()
	if err != nil && !errors.Is(err, errLost) {
		g.storeAway = now.Add(storeRest)
		return false, err
	}
	g.storeAway = time.Time{}
	g.b.told(w, now, stored, revision)
	g.settle(now)
	return false, nil
}

// claim makes a call of this process the probe: the only one of all replicas as
// long as the store can be asked, otherwise the only one of this process. nil:
// somebody else is. For holders of mu, which is given up meanwhile.
func (g *Guard) claim(ctx context.Context, now time.Time) *probe {
	p := &probe{until: now.Add(g.b.lim.probe)}
	g.b.probe = p
	if !g.b.common.isOpen() || g.share == nil {
		g.settle(now)
		return p
	}
	g.settle(now)
	if now.Before(g.storeAway) {
		return p
	}
	before, seen := g.b.revision, g.b.common
	g.mu.Unlock()
	stored, revision, err := g.claimStored(ctx, seen)
	g.mu.Lock()
	now = clock()
	lost := errors.Is(err, errLost)
	switch {
	case lost && revision == 0 && g.b.revision == before:
		g.b.deleted(0) // and the watch did not tell
	case err == nil, lost:
		g.b.learn(now, stored, revision)
	default:
		g.storeAway = now.Add(storeRest)
	}
	if lost && g.b.probe == p {
		g.b.probe = nil
	}
	g.settle(now)
	if g.b.probe != p {
		return nil
	}
	return p
}

func (g *Guard) claimStored(ctx context.Context, seen state) (stored state, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWait)
	defer cancel()
	leave, err := g.share.enter(ctx)
	if err != nil {
		return state{}, 0, err
	}
	defer leave()
	return g.share.write(ctx, func(now time.Time, s state) (state, bool) {
		return s.as(seen).claimed(now, g.b.holder, g.b.lim)
	})
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// clock is now, as it is after it was stored.
func clock() time.Time { return utc(time.Now()) }
