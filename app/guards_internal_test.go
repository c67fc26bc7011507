package app

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/guard"
)

// A lane with one free slot takes the delivery that finds out at once, from a server
// that was waited for, as one with more does.
func TestAGateLetsOneDeliveryFindOut(t *testing.T) {
	for name, ask := range map[string]func(context.Context) error{
		"a delivery is the probe": nil,
		"on probation":            func(context.Context) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			for _, slots := range []int{1, 7} {
				synctest.Test(t, func(t *testing.T) {
					finx := guarded(t, serverFinX, ask)
					g := guards{finx: finx, vault: guarded(t, serverVault, nil)}.gate(guard.Callback, serverFinX, serverVault)
					if n := g.Wait(t.Context(), slots); n != slots {
						t.Errorf("%d of %d while all work", n, slots)
					}
					for range 5 {
						finx.Observe(guard.Answer{Kind: guard.Away, Why: "refused"})
					}
					until := finx.Status().Until
					if n := g.Wait(t.Context(), slots); n != 1 || !time.Now().Equal(until) {
						t.Errorf("%d of %d deliveries, %v after the wait", n, slots, time.Since(until))
					}
					finx.Observe(guard.Answer{Kind: guard.Alive})
					if n := g.Wait(t.Context(), slots); n != slots || g.Closed() != "" {
						t.Errorf("%d of %d when all work again, %q", n, slots, g.Closed())
					}
				})
			}
		})
	}
}

func guarded(t *testing.T, name string, ask func(context.Context) error) *guard.Guard {
	t.Helper()
	g, err := guard.New(guard.Config{Name: name, ProbeWith: ask})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	synctest.Wait()
	return g
}
