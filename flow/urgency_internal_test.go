package flow

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// n is how many wait.
func n(p *permits) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue.Len()
}

// Whoever waits passes in the order of urgency, at the rate, in whatever order
// they came.
func TestPermitsGoByUrgency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, start := newPermits(4, nil), time.Now()
		var mu sync.Mutex
		var order []int
		var at []time.Duration
		for _, hours := range []int{5, 3, 9, 1, 7, 2, 8, 4, 6} {
			go func() {
				if err := p.take(t.Context(), start.Add(time.Duration(hours)*time.Hour), -1); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order, at = append(order, hours), append(at, time.Since(start))
			}()
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []int{5, 1, 2, 3, 4, 6, 7, 8, 9}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v: the first found nobody waiting", order, want)
		}
		for i, d := range at {
			if want := time.Duration(i) * 250 * time.Millisecond; d != want {
				t.Errorf("permit %d after %s, want %s", i, d, want)
			}
		}
	})
}

func TestPermitsSendAwayWhoCannotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, start := newPermits(1, nil), time.Now()
		urgent, later := start.Add(time.Hour), start.Add(2*time.Hour)
		if err := p.take(t.Context(), urgent, 0); err != nil {
			t.Fatal(err)
		}
		for range 3 { // the next three seconds are spoken for
			go func() {
				if err := p.take(t.Context(), urgent, -1); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		if err := p.take(t.Context(), later, 2*time.Second); !errors.Is(err, errCrowded) || time.Since(start) != 0 {
			t.Errorf("error %v after %s: what is plain is said at once", err, time.Since(start))
		}
		// One that would have had its turn is overtaken while it waits.
		ended := make(chan error)
		go func() { ended <- p.take(t.Context(), later, 5*time.Second) }()
		for i := range 9 {
			time.Sleep(500 * time.Millisecond)
			go func() {
				if err := p.take(t.Context(), urgent.Add(time.Duration(i)), -1); err != nil {
					t.Error(err)
				}
			}()
		}
		if err := <-ended; !errors.Is(err, errCrowded) || time.Since(start) != 5*time.Second {
			t.Errorf("error %v after %s, want %v after its patience", err, time.Since(start), errCrowded)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n(p) != 0 {
			t.Errorf("%d wait on", n(p))
		}
	})
}

func TestPermitsLeaveWithTheirCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPermits(0.001, nil)
		if err := p.take(t.Context(), time.Now(), -1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.take(ctx, time.Now(), -1) }()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || n(p) != 0 {
			t.Errorf("error %v, %d in the queue", err, n(p))
		}
	})
}

// The rate is shared by the replicas there are at each moment.
func TestPermitsShareTheRateWithOtherReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replicas := 1
		p, start := newPermits(4, func() int { return replicas }), time.Now()
		var at []time.Duration
		pass := func() {
			if err := p.take(t.Context(), start, -1); err != nil {
				t.Fatal(err)
			}
			at = append(at, time.Since(start))
		}
		pass()
		pass()
		replicas = 4 // each of them has one a second from now on
		pass()
		pass()
		if err := p.take(t.Context(), start, 900*time.Millisecond); !errors.Is(err, errCrowded) || time.Since(start) != at[3] {
			t.Errorf("error %v after %s: its turn is a second away", err, time.Since(start)-at[3])
		}
		replicas = 0 // nobody has been heard of: at least this one is there
		pass()
		const ms = time.Millisecond
		want := []time.Duration{0, 250 * ms, 1250 * ms, 2250 * ms, 2500 * ms}
		if !slices.Equal(at, want) {
			t.Errorf("permits after %v, want %v", at, want)
		}
	})
}
