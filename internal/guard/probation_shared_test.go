package guard_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/guard"
)

// A server that is only observed is on probation until an operation has gone well:
// the waits grow as long as none does.
func TestProbationOfAServerThatIsObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fleet(t, 1, newServer(0, nil), guard.Config{ProbeWith: saysItWorks})[0]
		r.trial(t)
		for i := range 6 {
			r.Observe(guard.Answer{Kind: guard.Unknown})
			r.Observe(guard.Answer{Kind: guard.Away, Why: "500"})
			st := r.Status()
			if wait := time.Second << (i + 1); !st.Open || st.Trips != i+2 || time.Until(st.Until) < min(wait, time.Minute)/2 {
				t.Errorf("after %d failures: %+v", i+1, st)
			}
			untilProbation(t, r)
		}
		r.Observe(guard.Answer{Kind: guard.Alive})
		if st := r.Status(); st.Open || st.Probation || st.Trips != 0 {
			t.Errorf("after an operation: %+v", st)
		}
	})
}

// A server that throttles whoever calls, and not who asks how it is.
func TestProbationAfterThrottling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replicas := fleet(t, 2, newServer(0, nil), guard.Config{Shared: newMemory(), ProbeWith: saysItWorks})
		r := replicas[0]
		r.probe(t, guard.Throttled)
		for i := range 6 {
			wantOpen(t, true, replicas...)
			if st := r.Status(); st.Trips != i+1 || time.Until(st.Until) < time.Second<<i/2 {
				t.Errorf("after %d answers: %+v", i+1, st)
			}
			untilProbation(t, r)
			r.probe(t, guard.Throttled)
		}
		untilProbation(t, r)
		replicas[1].probe(t, guard.Alive)
		if st := r.Status(); st.Open || st.Probation {
			t.Errorf("%+v", st)
		}
	})
}

// Without the store each is on probation by itself, and what one finds counts for
// the others when it is back.
func TestProbationWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		replicas := fleet(t, 2, newServer(0, nil), guard.Config{Shared: store, ProbeWith: saysItWorks})
		a, b := replicas[0], replicas[1]
		store.fail(true, false)
		a.trial(t)
		if st := b.Status(); st.Open || st.Probation {
			t.Errorf("%s heard of it: %+v", b.name, st)
		}
		a.probe(t, guard.Away)
		if st := a.Status(); !st.Open || st.Trips != 2 {
			t.Errorf("%+v", st)
		}
		untilProbation(t, a)
		store.fail(false, false)
		time.Sleep(5 * time.Second)
		a.probe(t, guard.Away)
		wantOpen(t, true, a, b)
		if st := b.Status(); st.Trips != 3 {
			t.Errorf("%+v", st)
		}
		untilProbation(t, b)
		store.fail(true, false)
		synctest.Wait()
		a.probe(t, guard.Alive)
		if st := a.Status(); st.Probation {
			t.Errorf("%+v", st)
		}
		store.fail(false, false)
		time.Sleep(5 * time.Second)
		for _, r := range replicas {
			if st := r.Status(); st.Open || st.Probation {
				t.Errorf("%s: %+v", r.name, st)
			}
		}
	})
}

// The operator's way out is one from probation too.
func TestADeletedKeyEndsAProbation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		replicas := fleet(t, 2, newServer(0, nil), guard.Config{Shared: store, ProbeWith: saysItWorks})
		replicas[0].trial(t)
		store.remove("breaker.finx")
		synctest.Wait()
		for _, r := range replicas {
			if st := r.Status(); st.Open || st.Probation || st.Trips != 0 {
				t.Errorf("%s: %+v", r.name, st)
			}
		}
	})
}

// One replica without a route stops the others once or twice, also where it is asked
// how the server is, and also where only that works from there.
func TestASickReplicaAndProbation(t *testing.T) {
	for name, reaches := range map[string]bool{"it reaches nothing": false, "it reaches the health check": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const takes, callers = 500 * time.Millisecond, 4
				store := newMemory()
				s := newServer(takes, always(guard.Answer{Kind: guard.Alive}))
				nowhere := newServer(takes/10, always(guard.Answer{Kind: guard.Away, Why: "no route"}))
				healthy := fleet(t, 2, s, guard.Config{Shared: store, Concurrency: callers, ProbeWith: saysItWorks})
				crowd(t, callers, guard.Page, healthy...)
				time.Sleep(10 * time.Second)
				begin := time.Now()
				ask := func(context.Context) error {
					if reaches {
						return nil
					}
					return errors.New("no route")
				}
				sick := start(t, "sick", nowhere, guard.Config{Shared: store, Concurrency: callers, Replicas: func() int { return 3 }, ProbeWith: ask})
				crowd(t, callers, guard.Page, sick)
				time.Sleep(time.Hour)
				calls := s.since(begin)
				lost := time.Hour - time.Duration(len(calls))*takes/(2*callers)
				tried := len(nowhere.since(begin))
				t.Logf("in an hour the healthy ones lost %v; the sick one made %d calls", lost, tried)
				if lost > 20*time.Second {
					t.Errorf("the healthy ones lost %v", lost)
				}
				if st := sick.Status(); st.Trips < 50 || tried > 200 {
					t.Errorf("the sick one made %d calls, %+v", tried, st)
				}
			})
		})
	}
}

// Who gives way on one replica goes as soon as a call has gone well on another, and
// the bound grows from there as it does after any outage.
func TestWhoGivesWayHearsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(100*time.Millisecond, always(guard.Answer{Kind: guard.Alive}))
		replicas := fleet(t, 2, s, guard.Config{Shared: newMemory(), Concurrency: 32, ProbeWith: saysItWorks})
		a, b := replicas[0], replicas[1]
		var ends []func(guard.Answer)
		for range 32 { // how many it stands
			ends = append(ends, begin(t, t.Context(), b.Guard))
		}
		for _, end := range ends {
			end(guard.Answer{Kind: guard.Away, Why: "500"})
		}
		synctest.Wait()
		for range 5 {
			untilProbation(t, b)
			a.probe(t, guard.Away)
		}
		untilProbation(t, b)
		started := time.Now()
		went := make(chan time.Duration, 1)
		go func() {
			if err := b.call(t.Context(), guard.Callback); err != nil {
				t.Error(err)
			}
			went <- time.Since(started)
		}()
		time.Sleep(time.Second)
		a.probe(t, guard.Alive)
		if after := <-went; after != 1100*time.Millisecond {
			t.Errorf("the callback was over after %v", after)
		}
		stop := crowd(t, 32, guard.Page, b)
		time.Sleep(time.Second)
		stop()
		if most := s.most[b.name]; most < 16 {
			t.Errorf("a second later %d at once", most)
		}
	})
}

// Who hears of an outage only when it is over is on probation like the others.
func TestAProbationThatIsAllThatIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		s := newServer(time.Second, always(guard.Answer{Kind: guard.Unknown}))
		r := start(t, "one", s, guard.Config{Shared: store, Concurrency: 8, ProbeWith: saysItWorks})
		synctest.Wait()
		if _, err := store.Save(t.Context(), "breaker.finx", []byte(`{"kind":"away","since":"2000-01-01T00:00:00Z","trips":2,"by":"two"}`), 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		stop := crowd(t, 8, guard.Page, r)
		time.Sleep(10 * time.Second)
		stop()
		if most := s.most["one"]; most != 1 || !r.Status().Probation {
			t.Errorf("%d at once, %+v", most, r.Status())
		}
	})
}
