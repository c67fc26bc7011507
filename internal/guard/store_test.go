package guard_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// fail makes r find the server away, by so many calls.
func (r *replica) fail(t *testing.T, n int) {
	t.Helper()
	for range n {
		end, err := r.Begin(t.Context(), guard.Page)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		end(guard.Answer{Kind: guard.Away, Why: "no route from " + r.name})
	}
	synctest.Wait()
}

// probe makes one call that must be let through at the moment.
func (r *replica) probe(t *testing.T, kind guard.Kind) {
	t.Helper()
	end, err := r.Begin(t.Context(), guard.Page)
	if err != nil {
		t.Fatalf("%s may not probe: %v", r.name, err)
	}
	end(guard.Answer{Kind: kind, Why: "probe of " + r.name})
	synctest.Wait()
}

func (r *replica) refused(t *testing.T) {
	t.Helper()
	if end, err := r.Begin(t.Context(), guard.Callback); fault.Of(err) != fault.WaitUntil {
		t.Errorf("%s makes a call: %v", r.name, err)
		end(guard.Answer{})
	}
}

func wantOpen(t *testing.T, want bool, replicas ...*replica) {
	t.Helper()
	for _, r := range replicas {
		if st := r.Status(); st.Open != want {
			t.Errorf("%s: %+v, want open = %v", r.name, st, want)
		}
	}
}

// Without the store each process decides by itself and at once: it opens, probes
// and closes; when the store is back they tell each other again.
func TestWithoutTheStoreEachDecidesAlone(t *testing.T) {
	for name, hangs := range map[string]bool{"it answers with errors": false, "it does not answer": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newMemory()
				replicas := fleet(t, 2, newServer(0, nil), guard.Config{Shared: store, Max: time.Second})
				a, b := replicas[0], replicas[1]
				store.fail(!hangs, hangs)
				begin := time.Now()
				a.fail(t, 5)
				wantOpen(t, true, a)
				wantOpen(t, false, b)
				if d := time.Since(begin); d > 0 {
					t.Errorf("a call waited %v for the store", d)
				}
				time.Sleep(time.Millisecond) // an episode of its own
				b.fail(t, 5)
				for range 20 {
					time.Sleep(time.Second)
					a.probe(t, guard.Away)
					b.probe(t, guard.Away)
				}
				if d := time.Since(begin); d > 20*time.Second+time.Millisecond {
					t.Errorf("20 probes a second apart took %v", d)
				}
				time.Sleep(time.Second)
				a.probe(t, guard.Alive)
				wantOpen(t, false, a)
				wantOpen(t, true, b)

				store.fail(false, false)
				time.Sleep(5 * time.Second)
				wantOpen(t, true, a, b) // b has told by now
				b.probe(t, guard.Alive)
				wantOpen(t, false, a, b)
			})
		})
	}
}

// Where the store goes away while it is open, the one call that would be the probe
// waits for it once, and none after that.
func TestAStoreThatHangsHoldsUpOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		replicas := fleet(t, 2, newServer(0, nil), guard.Config{Shared: store, Max: time.Second})
		a, b := replicas[0], replicas[1]
		a.fail(t, 5)
		wantOpen(t, true, a, b)
		store.fail(false, true)
		time.Sleep(time.Second)
		begin := time.Now()
		b.probe(t, guard.Away)
		if d := time.Since(begin); d != 2*time.Second {
			t.Errorf("the first probe waited %v for the store", d)
		}
		time.Sleep(2 * time.Second)
		begin = time.Now()
		b.probe(t, guard.Away)
		time.Sleep(2 * time.Second)
		b.probe(t, guard.Alive)
		if d := time.Since(begin); d != 2*time.Second {
			t.Errorf("the other probes waited %v for the store", d-2*time.Second)
		}
		wantOpen(t, false, b)
		wantOpen(t, true, a)
		store.fail(false, false)
		time.Sleep(10 * time.Second)
		wantOpen(t, false, a, b) // b has closed what a had opened
	})
}

// The operator's way out: the key is deleted, everybody asks again.
func TestADeletedKeyCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		replicas := fleet(t, 3, newServer(0, nil), guard.Config{Shared: store})
		end, err := replicas[0].Begin(t.Context(), guard.Page)
		if err != nil {
			t.Fatal(err)
		}
		end(guard.Answer{Kind: guard.Throttled, Until: time.Now().Add(24 * time.Hour), Why: "429"})
		synctest.Wait()
		wantOpen(t, true, replicas...)
		store.remove("breaker.finx")
		synctest.Wait()
		wantOpen(t, false, replicas...)
		replicas[1].fail(t, 5) // and it opens again as ever
		wantOpen(t, true, replicas...)

		// A deletion that nobody heard of counts when the store is followed again.
		store.fail(true, false)
		synctest.Wait()
		store.remove("breaker.finx")
		store.fail(false, false)
		time.Sleep(2 * time.Second)
		wantOpen(t, false, replicas...)
	})
}

// A store that was made anew counts its revisions from one.
func TestAStoreThatWasMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		store.revision = 1000
		replicas := fleet(t, 2, newServer(0, nil), guard.Config{Shared: store})
		replicas[0].fail(t, 5)
		time.Sleep(2 * time.Second)
		replicas[0].probe(t, guard.Alive)
		store.fail(true, false)
		synctest.Wait()
		store.mu.Lock()
		store.revision, store.values = 0, map[string]entry{}
		store.put("breaker.finx", []byte("{}"))
		store.mu.Unlock()
		store.fail(false, false)
		time.Sleep(2 * time.Second)
		replicas[0].fail(t, 5)
		wantOpen(t, true, replicas...)
	})
}

// What somebody wrote by hand and nobody can read closes, and is written over.
func TestAValueNobodyCanReadCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		replicas := fleet(t, 2, newServer(0, nil), guard.Config{Shared: store})
		replicas[0].fail(t, 5)
		store.mu.Lock()
		store.put("breaker.finx", []byte("open!"))
		store.mu.Unlock()
		synctest.Wait()
		wantOpen(t, false, replicas...)
		replicas[0].fail(t, 5)
		wantOpen(t, true, replicas...)
		if !json.Valid(store.values["breaker.finx"].value) {
			t.Error("it is still there")
		}
	})
}

// A replica that starts during an outage knows of it before its first call.
func TestAReplicaThatStartsKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		fleet(t, 1, newServer(0, nil), guard.Config{Shared: store})[0].fail(t, 5)
		late := start(t, "late", newServer(0, nil), guard.Config{Shared: store})
		synctest.Wait()
		wantOpen(t, true, late)
		late.refused(t)
	})
}

// One replica without a route to the server stops the others once, for a second or
// two, and then only itself.
func TestASickReplicaDoesNotStopTheHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes, callers = 500 * time.Millisecond, 4
		store := newMemory()
		s := newServer(takes, always(guard.Answer{Kind: guard.Alive}))
		nowhere := newServer(takes, always(guard.Answer{Kind: guard.Away, Why: "no route"}))
		healthy := fleet(t, 2, s, guard.Config{Shared: store, Concurrency: callers})
		crowd(t, callers, guard.Page, healthy...)
		time.Sleep(10 * time.Second)
		begin := time.Now()
		sick := start(t, "sick", nowhere, guard.Config{Shared: store, Concurrency: callers, Replicas: func() int { return 3 }})
		crowd(t, callers, guard.Page, sick)
		time.Sleep(time.Hour)

		calls := s.since(begin)
		var longest time.Duration
		for i := range calls[1:] {
			longest = max(longest, calls[i+1].at.Sub(calls[i].at))
		}
		lost := time.Hour - time.Duration(len(calls))*takes/(2*callers)
		tried := len(nowhere.since(begin))
		t.Logf("in an hour with a sick replica the healthy ones lost %v, at most %v at once; it made %d calls", lost, longest, tried)
		if lost > 10*time.Second || longest > 3*time.Second {
			t.Errorf("the healthy ones lost %v, at most %v at once", lost, longest)
		}
		if st := sick.Status(); !st.Open || st.Trips < 50 || tried > 200 {
			t.Errorf("the sick one made %d calls, %+v", tried, st)
		}
	})
}

// A prober that never says how it ended is replaced, by one other.
func TestAProberThatDiesIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replicas := fleet(t, 3, newServer(0, nil), guard.Config{Shared: newMemory(), Probe: 30 * time.Second})
		a, b, c := replicas[0], replicas[1], replicas[2]
		a.fail(t, 5)
		time.Sleep(time.Second)
		lost, err := b.Begin(t.Context(), guard.Page)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		time.Sleep(29 * time.Second)
		for _, r := range replicas {
			if !r.Status().Probing {
				t.Errorf("%s does not know of the probe", r.name)
			}
			r.refused(t)
		}
		b.stop()
		time.Sleep(time.Second)
		end, err := c.Begin(t.Context(), guard.Page)
		if err != nil {
			t.Fatalf("nobody may replace the prober: %v", err)
		}
		synctest.Wait()
		a.refused(t)
		b.refused(t)
		lost(guard.Answer{Kind: guard.Away}) // too late to count
		a.refused(t)
		end(guard.Answer{Kind: guard.Alive})
		synctest.Wait()
		wantOpen(t, false, a, c)
	})
}

// Who opened leaves the first probe to the others, but not for ever.
func TestTheProbeGoesToAnotherReplicaFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replicas := fleet(t, 2, newServer(0, nil), guard.Config{Shared: newMemory()})
		a := replicas[0]
		a.fail(t, 5)
		time.Sleep(time.Until(a.Status().Until))
		a.refused(t)
		time.Sleep(time.Second)
		a.probe(t, guard.Alive)
		wantOpen(t, false, replicas...)
	})
}

// A clock that is ahead stops nobody for longer than Max.
func TestAClockThatIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		r := start(t, "one", newServer(0, nil), guard.Config{Shared: store, Max: 10 * time.Second})
		ahead := time.Now().Add(5 * time.Hour).UTC().Format(time.RFC3339)
		if _, err := store.Save(context.WithoutCancel(t.Context()), "breaker.finx", []byte(`{"kind":"away","trips":1,"by":"two","open_until":"`+ahead+`","since":"`+ahead+`"}`), 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantOpen(t, true, r)
		time.Sleep(10 * time.Second)
		r.probe(t, guard.Alive)
		wantOpen(t, false, r)
	})
}
