package guard_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// Everything at once on the real clock, for the race detector: whatever happens,
// the bound holds, turns are not lost, and with a server that works it closes.
func TestEverythingAtOnce(t *testing.T) {
	const bound, callers, calls = 4, 16, 300
	store := newMemory()
	metrics := guard.NewMetrics(prometheus.NewRegistry(), "finx")
	var replicas []*replica
	for i := range 3 {
		replicas = append(replicas, start(t, fmt.Sprintf("replica-%d", i), newServer(0, nil), guard.Config{
			Shared: store, Concurrency: bound, Rate: 1e6, Replicas: func() int { return 3 }, Metrics: metrics,
			First: 2 * time.Millisecond, Max: 4 * time.Millisecond, Probe: 5 * time.Millisecond, Failures: 3,
		}))
	}
	var wg sync.WaitGroup
	for _, r := range replicas {
		var underWay atomic.Int32
		for i := range callers {
			wg.Go(func() { someCalls(t, r, &underWay, bound, calls, i) })
		}
	}
	trouble, calm := context.WithCancel(t.Context())
	var troubles sync.WaitGroup
	troubles.Go(func() {
		for i := 0; trouble.Err() == nil; i++ {
			store.fail(i%5 == 1, i%5 == 2)
			if i%5 == 3 {
				store.remove("breaker.finx")
			}
			for _, r := range replicas {
				r.Status()
			}
			sleep(trouble, time.Millisecond)
		}
		store.fail(false, false)
	})
	wg.Wait()
	calm()
	troubles.Wait()
	for _, r := range replicas {
		for r.Wait(t.Context(), guard.Callback, 1); r.Status().Open; r.Wait(t.Context(), guard.Callback, 1) {
			if end, err := r.Begin(t.Context(), guard.Callback); err == nil {
				end(guard.Answer{Kind: guard.Alive})
			}
		}
	}
}

// someCalls makes calls of all kinds with answers of all kinds.
func someCalls(t *testing.T, r *replica, underWay *atomic.Int32, bound int32, calls, seed int) {
	random := rand.New(rand.NewPCG(uint64(seed), 1))
	for range calls {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(20))*time.Millisecond)
		p := guard.Priority(random.IntN(5))
		a := guard.Answer{Kind: guard.Kind(random.IntN(4))}
		if random.IntN(3) == 0 {
			a.Until = time.Now().Add(time.Duration(random.IntN(3)) * time.Millisecond)
		}
		switch random.IntN(8) {
		case 0:
			r.Wait(ctx, p, 3)
		case 1:
			r.Observe(a)
		case 2:
			admitted, release, err := r.Admit(ctx, p)
			if err != nil {
				break
			}
			if random.IntN(2) == 0 {
				// The guard may have opened since: then the turn is refused, with a time.
				if end, err := r.Begin(admitted, p); err != nil {
					if _, named := fault.Until(err); !named {
						t.Errorf("a call that was admitted: %v", err)
					}
				} else {
					end(a)
				}
			}
			release()
		default:
			end, err := r.Begin(ctx, p)
			if err != nil {
				break
			}
			if n := underWay.Add(1); n > bound+1 { // and a probe
				t.Errorf("%d calls at once", n)
			}
			underWay.Add(-1)
			end(a)
		}
		cancel()
	}
}

// BenchmarkCall is what every call pays that need not wait.
func BenchmarkCall(b *testing.B) {
	for _, c := range []struct {
		name string
		cfg  guard.Config
	}{
		{"plain", guard.Config{}},
		{"bounded and measured", guard.Config{Concurrency: 16, Metrics: guard.NewMetrics(prometheus.NewRegistry(), "finx")}},
		{"with a rate", guard.Config{Concurrency: 16, Rate: 1e9}},
	} {
		b.Run(c.name, func(b *testing.B) {
			c.cfg.Name = "finx"
			g, err := guard.New(c.cfg)
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				end, err := g.Begin(ctx, guard.Page)
				if err != nil {
					b.Fatal(err)
				}
				end(guard.Answer{Kind: guard.Alive})
			}
		})
	}
}

// TestACallCostsOneAllocation: what Begin returns, and nothing else.
func TestACallCostsOneAllocation(t *testing.T) {
	g := newGuard(t, guard.Config{Concurrency: 16, Rate: 1e9, Metrics: guard.NewMetrics(prometheus.NewRegistry(), "finx")})
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		end, err := g.Begin(ctx, guard.Page)
		if err != nil {
			t.Fatal(err)
		}
		end(guard.Answer{Kind: guard.Alive})
	}); n > 1 {
		t.Errorf("%v allocations a call", n)
	}
}
