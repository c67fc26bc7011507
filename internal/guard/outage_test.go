package guard_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/guard"
)

// Three replicas with 50 callers each, who all come back as soon as they are told
// they may: in three hours the server hears one probe at a time, half a minute to a
// minute apart in the end, and when it works again, one probe opens it for all.
func TestThreeHoursOfOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		dies, back := begin.Add(10*time.Second), begin.Add(10*time.Second+3*time.Hour)
		s := newServer(200*time.Millisecond, func(now time.Time) guard.Answer {
			if now.After(dies) && now.Before(back) {
				return guard.Answer{Kind: guard.Away, Why: "connection refused"}
			}
			return guard.Answer{Kind: guard.Alive}
		})
		replicas := fleet(t, 3, s, guard.Config{Shared: newMemory(), Concurrency: 50})
		crowd(t, 50, guard.Page, replicas...)

		time.Sleep(time.Until(back))
		during := s.since(dies)
		slices.SortFunc(during, func(a, b arrival) int { return a.at.Compare(b.at) })
		first := slices.IndexFunc(during, func(a arrival) bool { return a.at.Sub(dies) > 300*time.Millisecond })
		if burst := during[:first]; len(burst) > 150+3*4 {
			t.Errorf("%d calls found out that the server died, more than were under way and four repetitions each", len(burst))
		}
		probes := during[first:]
		if n := len(probes); n < 180 || n > 3*60*2+10 {
			t.Errorf("%d probes in three hours", n)
		}
		by := map[string]int{}
		for i, p := range probes {
			by[p.from]++
			if p.underWay != 1 {
				t.Fatalf("probe %d was one of %d at once", i, p.underWay)
			}
			if i == 0 {
				continue
			}
			want := min(time.Second<<min(i, 10), time.Minute) / 2
			if gap := p.at.Sub(probes[i-1].until); gap < want || gap > 2*want+2*time.Second {
				t.Errorf("probe %d came %v after the one before, want %v to %v", i, gap, want, 2*want)
			}
		}
		if len(by) < 2 {
			t.Errorf("all probes were made by one replica: %v", by)
		}

		time.Sleep(time.Minute + 2*time.Second)
		checkRecovery(t, s, back, replicas)
	})
}

// checkRecovery looks at what happened since the server works again.
func checkRecovery(t *testing.T, s *server, back time.Time, replicas []*replica) {
	t.Helper()
	after := s.since(back)
	slices.SortFunc(after, func(a, b arrival) int { return a.at.Compare(b.at) })
	probe := after[0]
	if second := after[1]; second.at.Before(probe.until) {
		t.Errorf("a second call went out at %v, the probe's answer came at %v", second.at, probe.until)
	}
	for _, r := range replicas {
		if st := r.Status(); st.Open {
			t.Errorf("%s is open still: %+v", r.name, st)
		}
		own := slices.DeleteFunc(slices.Clone(after[1:]), func(a arrival) bool { return a.from != r.name })
		// Whoever was refused comes back within a second.
		if late := own[0].at.Sub(probe.until); late > 1100*time.Millisecond {
			t.Errorf("%s called again %v after the probe", r.name, late)
		}
		// 1, 2, 4, 8, 16 a round of 200 ms, then one more a round.
		for round, most := range []int{1, 2, 4, 8, 16} {
			from := own[0].at.Add(time.Duration(round) * 200 * time.Millisecond)
			begun := 0
			for _, a := range own {
				if !a.at.Before(from) && a.at.Before(from.Add(200*time.Millisecond)) {
					begun++
				}
			}
			if begun > most || begun == 0 {
				t.Errorf("%s began %d calls in round %d after the recovery, want at most %d", r.name, begun, round, most)
			}
		}
	}
}

// The other replicas hear of a closing at once, not when they would have probed.
func TestOneProbeClosesEveryReplicaWithinMilliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alive := guard.Answer{Kind: guard.Away}
		s := newServer(0, func(time.Time) guard.Answer { return alive })
		replicas := fleet(t, 3, s, guard.Config{Shared: newMemory()})
		for range 5 {
			if err := replicas[0].call(t.Context(), guard.Page); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for _, r := range replicas {
			if !r.Status().Open {
				t.Fatalf("%s has not heard of the opening", r.name)
			}
		}
		alive = guard.Answer{Kind: guard.Alive}
		time.Sleep(time.Second)
		if err := replicas[1].call(t.Context(), guard.Page); err != nil {
			t.Fatalf("the probe: %v", err)
		}
		time.Sleep(time.Millisecond)
		for _, r := range replicas {
			if st := r.Status(); st.Open {
				t.Errorf("%s is open still: %+v", r.name, st)
			}
		}
		if n := len(s.since(time.Time{})); n != 6 {
			t.Errorf("%d calls reached the server, want 5 failures and a probe", n)
		}
	})
}

// With lanes that ask before they take a delivery, next to nothing is refused.
func TestLanesTakeOneDeliveryAnEpisode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(50*time.Millisecond, always(guard.Answer{Kind: guard.Away}))
		replicas := fleet(t, 3, s, guard.Config{Shared: newMemory(), Concurrency: 20})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		taken := make(chan int, 1)
		taken <- 0
		for _, r := range replicas {
			for _, p := range []guard.Priority{guard.Callback, guard.Link, guard.Token, guard.Accounts} {
				wg.Go(func() {
					for {
						n := r.Wait(ctx, p, 10)
						if n == 0 {
							return
						}
						for range n {
							_ = r.call(ctx, p)
						}
						taken <- <-taken + n
					}
				})
			}
		}
		time.Sleep(3 * time.Hour)
		cancel()
		wg.Wait()
		calls := len(s.since(time.Time{}))
		n := <-taken
		t.Logf("%d deliveries taken, %d calls", n, calls)
		if calls > 3*60*2+60 {
			t.Errorf("%d calls in three hours", calls)
		}
		// Callbacks of all replicas come at once to the probe, the others give way.
		if n > 4*calls {
			t.Errorf("%d deliveries were taken for %d calls", n, calls)
		}
	})
}
