package guard_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

func TestWaitLetsOneLaneAfterTheOtherTakeOneDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{})
		if n := g.Wait(t.Context(), guard.Page, 7); n != 7 {
			t.Errorf("closed: %d of 7", n)
		}
		until := time.Now().Add(10 * time.Second)
		begin(t, t.Context(), g)(guard.Answer{Kind: guard.Throttled, Until: until})
		var wg sync.WaitGroup
		for p, after := range map[guard.Priority]time.Duration{
			guard.Callback: 0, guard.Link: 150 * time.Millisecond, guard.Token: 300 * time.Millisecond,
			guard.Accounts: 450 * time.Millisecond, guard.Page: 600 * time.Millisecond,
		} {
			wg.Go(func() {
				if n := g.Wait(t.Context(), p, 7); n != 1 || time.Since(until) != after {
					t.Errorf("priority %d: %d deliveries %v after it was due, want 1 after %v", p, n, time.Since(until), after)
				}
			})
		}
		wg.Wait()
		// The delivery made no call: the lane may take another one, not at once.
		asked := time.Now()
		if n := g.Wait(t.Context(), guard.Page, 7); n != 1 || time.Since(asked) != 2*time.Second {
			t.Errorf("%d deliveries after %v", n, time.Since(asked))
		}
		// Nothing is taken beside a probe; when it succeeds, everything is.
		end := begin(t, t.Context(), g)
		for p := range guard.Page {
			wg.Go(func() {
				if n := g.Wait(t.Context(), p, 7); n != 7 {
					t.Errorf("priority %d: %d of 7", p, n)
				}
			})
		}
		time.Sleep(10 * time.Second)
		asked = time.Now()
		end(guard.Answer{Kind: guard.Alive})
		if wg.Wait(); time.Since(asked) != 0 {
			t.Errorf("the lanes heard of it after %v", time.Since(asked))
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{})
		begin(t, t.Context(), g)(guard.Answer{Kind: guard.Throttled, Until: time.Now().Add(time.Hour)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if n := g.Wait(ctx, guard.Page, 7); n != 0 {
			t.Errorf("%d of 7", n)
		}
		if n := g.Wait(t.Context(), guard.Page, 0); n != 0 {
			t.Errorf("%d of none", n)
		}
	})
}

// Where the server can be asked for itself, no delivery is risked: one replica asks,
// as rarely as a probe would be made.
func TestTheServerIsAskedForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var asked []time.Time
		answer := errors.New("sealed")
		ask := func(context.Context) error {
			time.Sleep(10 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, time.Now())
			return answer
		}
		set := func(err error) int {
			mu.Lock()
			defer mu.Unlock()
			answer = err
			return len(asked)
		}
		s := newServer(0, always(guard.Answer{Kind: guard.Alive}))
		replicas := fleet(t, 3, s, guard.Config{Shared: newMemory(), ProbeWith: ask})
		for range 5 {
			replicas[0].Observe(guard.Answer{Kind: guard.Away, Why: "sealed"})
		}
		synctest.Wait()
		wantOpen(t, true, replicas...)
		var lanes sync.WaitGroup
		for _, r := range replicas {
			lanes.Go(func() {
				if n := r.Wait(t.Context(), guard.Link, 5); n != 1 { // on probation
					t.Errorf("%s: %d of 5", r.name, n)
				}
			})
		}
		time.Sleep(time.Hour)
		replicas[1].refused(t)
		n := set(fault.Throttled(fault.Vault, time.Now().Add(2*time.Hour), errors.New("429")))
		if n < 60 || n > 130 {
			t.Errorf("it was asked %d times in an hour", n)
		}
		time.Sleep(time.Hour)
		if got := set(nil); got != n+1 {
			t.Errorf("it was asked %d times in an hour of two that it named", got-n)
		}
		time.Sleep(time.Hour + time.Second)
		lanes.Wait()
		wantOpen(t, false, replicas...)
		if err := replicas[2].call(t.Context(), guard.Link); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		for _, r := range replicas {
			if n := r.Wait(t.Context(), guard.Callback, 5); n != 5 {
				t.Errorf("%s: %d of 5 after a call", r.name, n)
			}
		}
		if got := set(nil); got != n+2 {
			t.Errorf("%d probes closed it", got-n-1)
		}
	})
}

// A probe of our own that hangs is ended and counts as a failure.
func TestAskingIsEndedAfterProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, "one", newServer(0, nil), guard.Config{Probe: 5 * time.Second, ProbeWith: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		synctest.Wait()
		r.fail(t, 5)
		time.Sleep(time.Second + 4*time.Second)
		if !r.Status().Probing {
			t.Error("it does not probe")
		}
		time.Sleep(time.Second)
		if st := r.Status(); st.Probing || st.Trips != 2 {
			t.Errorf("after the probe: %+v", st)
		}
	})
}

// A process that stops while it asks has found out nothing.
func TestAskingEndsWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		r := start(t, "one", newServer(0, nil), guard.Config{Shared: store, ProbeWith: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		synctest.Wait()
		r.fail(t, 5)
		time.Sleep(2 * time.Second)
		if !r.Status().Probing {
			t.Fatal("it does not probe")
		}
		r.stop()
		if st := r.Status(); st.Probing || st.Trips != 1 {
			t.Errorf("after the stop: %+v", st)
		}
		r.probe(t, guard.Alive) // now the next call finds out
	})
}

// Where nobody is held back, what is observed is all there is.
func TestObserving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Failures: 2})
		for i, step := range []struct {
			kind  guard.Kind
			after time.Duration
			open  bool
			trips int
		}{
			{guard.Away, 0, false, 0},
			{guard.Alive, 0, false, 0},
			{guard.Away, 0, false, 0},
			{guard.Unknown, 0, false, 0},
			{guard.Away, 0, true, 1},
			{guard.Away, 0, true, 1},
			{guard.Away, time.Second, true, 2}, // as good as a probe
			{guard.Away, 0, true, 2},
			{guard.Alive, 0, false, 0}, // it works, whatever the wait
			{guard.Throttled, 0, true, 1},
			{guard.Alive, 0, true, 1}, // but not before it said
			{guard.Alive, time.Second, false, 0},
		} {
			time.Sleep(step.after)
			g.Observe(guard.Answer{Kind: step.kind})
			if st := g.Status(); st.Open != step.open || st.Trips != step.trips {
				t.Fatalf("after step %d: %+v, want %+v", i, st, step)
			}
		}
	})
}

func TestANilGuardHoldsNothingBack(t *testing.T) {
	var g *guard.Guard
	begin(t, t.Context(), g)(guard.Answer{Kind: guard.Away})
	ctx, release, err := g.Admit(t.Context(), guard.Page)
	if err != nil || ctx != t.Context() {
		t.Errorf("admitted: %v", err)
	}
	release()
	g.Observe(guard.Answer{Kind: guard.Away})
	ctx, cancel := context.WithCancel(ctx)
	if n := g.Wait(ctx, guard.Page, 3); n != 3 || g.Status().Open {
		t.Errorf("%d of 3", n)
	}
	cancel()
	if n := g.Wait(ctx, guard.Page, 3); n != 0 {
		t.Errorf("%d of 3 after the end", n)
	}
	g.Run(ctx)
}

func TestConfigurationsThatMeanNothing(t *testing.T) {
	for name, cfg := range map[string]guard.Config{
		"no name":           {},
		"no holder":         {Name: "finx", Shared: newMemory()},
		"negative failures": {Name: "finx", Failures: -1},
		"negative wait":     {Name: "finx", Max: -1},
		"negative rate":     {Name: "finx", Rate: -1},
	} {
		if _, err := guard.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
