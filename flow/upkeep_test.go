package flow_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// escrow is custody with answers that wait for Vault.
type escrow struct {
	flow.Keeping

	mu      sync.Mutex
	waiting int
	err     error
	panics  bool
	asked   []time.Time
}

func (e *escrow) BringHome(context.Context) (custody.Homecoming, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = append(e.asked, time.Now())
	if e.panics {
		panic("a bug")
	}
	return custody.Homecoming{Waiting: e.waiting}, e.err
}

// calls changes what waits and returns how often custody was asked since the
// last change.
func (e *escrow) calls(waiting int, err error) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.asked)
	e.asked, e.waiting, e.err, e.panics = nil, waiting, err, false
	return n
}

func TestUpkeepDoesAllItsDuties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := &escrow{panics: true}
		w := newWorld(t, finxtest.Options{}, func(w *world) {
			w.timersOnly = true
			home.Keeping, w.cfg.Background.Keeping = w.cfg.Background.Keeping, home
		})
		rec := w.connect(userID)
		w.stop()
		time.Sleep(70 * day)
		leave(t, w.secrets, w.connect("bob@example.com").ID, "refresh", secret.Text{}, time.Hour)
		fresh, err := flow.New(w.cfg)
		w.must(err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { fresh.Upkeep(ctx); close(ended) }()
		time.Sleep(time.Minute + time.Second)
		if n := home.calls(0, nil); n != 2 {
			t.Errorf("asked %d times to bring answers home: a panic ends nothing, and is tried again in a minute", n)
		}
		if n := w.sandbox.Stats().Rotations; n != 2 {
			t.Errorf("%d rotations, want one of the catch-up and one of the sweep", n)
		}
		time.Sleep(time.Hour)
		if n := home.calls(1, errors.New("vault is sealed")); n != 60 {
			t.Errorf("%d times in an hour without anything to bring home, want one a minute", n)
		}
		time.Sleep(time.Minute)
		if home.calls(1, nil); len(w.wire.refreshes()) != 2 {
			t.Error("a token was used without need")
		}
		time.Sleep(time.Hour)
		if n := home.calls(0, nil); n != 240 {
			t.Errorf("%d times in an hour with an answer waiting, want four a minute", n)
		}
		// A timer that was lost is found by a later walk.
		_, err = w.timers.CancelSchedule(ctx, rec.ID)
		w.must(err)
		time.Sleep(60 * day)
		if n := w.sandbox.Stats().Rotations; n != 4 {
			t.Errorf("%d rotations sixty days later, want two more", n)
		}
		cancel()
		synctest.Wait()
		select {
		case <-ended:
		default:
			t.Error("the upkeep outlives its context")
		}
	})
}

func TestNoUpkeepWithoutBackground(t *testing.T) {
	r := newRig(t, finxtest.Options{}, func(c *flow.Config) { c.Background = nil })
	rec := r.established()
	r.Upkeep(t.Context())
	r.must(r.keepAlive("due-1", rec.ID))
	if !r.record(rec.ID).KeepAliveAt.IsZero() {
		t.Error("a timer without timers")
	}
}
