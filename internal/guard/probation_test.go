package guard_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/guard"
)

// saysItWorks is a server whose health check is of no worth.
func saysItWorks(context.Context) error { return nil }

// trial opens a replica by five failures and waits until it is on probation.
func (r *replica) trial(t *testing.T) {
	t.Helper()
	r.fail(t, 5)
	wantOpen(t, true, r)
	untilProbation(t, r)
}

func untilProbation(t *testing.T, r *replica) {
	t.Helper()
	time.Sleep(time.Until(r.Status().Until) + 2*time.Second) // whoever opened leaves the probe to others
	synctest.Wait()
	if st := r.Status(); st.Open || !st.Probation || st.Trips == 0 {
		t.Fatalf("%s is not on probation: %+v", r.name, st)
	}
}

// The health check goes well and no call does: each replica makes one call a wait,
// the waits grow to Max, and none of them is an exchange of a code, which would be
// gone, or a refresh, as long as others wait to be made.
func TestAHealthCheckOfNoWorth(t *testing.T) {
	for _, n := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			back := begin.Add(3 * time.Hour)
			s := newServer(200*time.Millisecond, func(now time.Time) guard.Answer {
				if now.Before(back) {
					return guard.Answer{Kind: guard.Away, Why: "500"}
				}
				return guard.Answer{Kind: guard.Alive}
			})
			replicas := fleet(t, n, s, guard.Config{Shared: newMemory(), Concurrency: 20, ProbeWith: saysItWorks})
			for _, p := range []guard.Priority{guard.Callback, guard.Link, guard.Token, guard.Accounts, guard.Page} {
				crowd(t, 5, p, replicas...)
			}
			time.Sleep(time.Until(back))
			for _, r := range replicas {
				var at []time.Time
				for _, c := range s.since(begin.Add(time.Second)) {
					if c.from != r.name {
						continue
					}
					if at = append(at, c.at); c.ofPriority == guard.Callback || c.ofPriority == guard.Token {
						t.Errorf("%v after the beginning the call was of priority %d", c.at.Sub(begin), c.ofPriority)
					}
				}
				for i := range at[1:] {
					gap := at[i+1].Sub(at[i])
					if want := min(time.Second<<min(i+1, 10), time.Minute) / 2; gap < want {
						t.Errorf("%s: call %d came %v after the one before, want at least %v", r.name, i+1, gap, want)
					}
				}
				if len(at) < 100 || len(at) > 3*60*2+10 {
					t.Errorf("%s made %d calls in three hours", r.name, len(at))
				}
				t.Logf("%s of %d: %d calls in three hours, the last %v apart", r.name, n, len(at), at[len(at)-1].Sub(at[len(at)-2]))
			}
			time.Sleep(time.Minute + 3*time.Second)
			of := map[guard.Priority]int{}
			for _, c := range s.since(back) {
				of[c.ofPriority]++
			}
			for _, r := range replicas {
				if st := r.Status(); st.Open || st.Probation || st.Trips != 0 {
					t.Errorf("%s a minute after it works again: %+v", r.name, st)
				}
			}
			if len(of) != 5 || of[guard.Callback] == 0 {
				t.Errorf("calls after the recovery: %v", of)
			}
		})
	}
}

// The first call that goes well ends the probation for all, and is followed by
// slowly more.
func TestOneCallEndsTheProbationOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		s := newServer(200*time.Millisecond, always(guard.Answer{Kind: guard.Alive}))
		replicas := fleet(t, 3, s, guard.Config{Shared: store, Concurrency: 20, ProbeWith: saysItWorks})
		replicas[0].trial(t)
		for _, r := range replicas {
			if st := r.Status(); !st.Probation || st.Open || st.Why == "" || st.Since.IsZero() {
				t.Errorf("%s: %+v", r.name, st)
			}
		}
		end, err := replicas[1].Begin(t.Context(), guard.Page)
		if err != nil {
			t.Fatal(err)
		}
		// Beside it nobody goes.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := replicas[1].call(ctx, guard.Link); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second call: %v", err)
		}
		end(guard.Answer{Kind: guard.Unknown}) // which says nothing
		if !replicas[1].Status().Probation {
			t.Error("it ended with an answer that says nothing")
		}
		if err := replicas[2].call(t.Context(), guard.Page); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, r := range replicas {
			if st := r.Status(); st.Probation || st.Open || st.Trips != 0 {
				t.Errorf("%s: %+v", r.name, st)
			}
		}
		var stored map[string]any
		if err := json.Unmarshal(store.values["breaker.finx"].value, &stored); err != nil || stored["trips"] != nil || stored["kind"] != nil {
			t.Errorf("stored: %v, %v", stored, err)
		}
		replicas[0].fail(t, 4) // five are needed again
		wantOpen(t, false, replicas...)
	})
}

// One call that does not go well is enough, on any replica, and the wait is the
// next longer one.
func TestTheFirstFailureEndsAProbation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replicas := fleet(t, 3, newServer(0, nil), guard.Config{Shared: newMemory(), ProbeWith: saysItWorks})
		replicas[0].trial(t)
		for i := range 8 {
			r := replicas[1+i%2]
			r.probe(t, guard.Away)
			wantOpen(t, true, replicas...)
			st := r.Status()
			wait := min(time.Second<<(i+1), time.Minute)
			if got := time.Until(st.Until); st.Trips != i+2 || got < wait/2 || got > wait {
				t.Errorf("after %d failures: %v, %+v", i+1, got, st)
			}
			for _, other := range replicas {
				if o := other.Status(); o.Trips != st.Trips || !o.Until.Equal(st.Until) {
					t.Errorf("%s does not share it: %+v", other.name, o)
				}
			}
			untilProbation(t, r)
		}
	})
}

// What spends nothing goes first, whoever came first; what spends something goes
// when a call has gone well.
func TestWhatSpendsSomethingGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(5*time.Second, always(guard.Answer{Kind: guard.Alive}))
		r := fleet(t, 1, s, guard.Config{Concurrency: 1, ProbeWith: saysItWorks})[0]
		r.trial(t)
		var wg sync.WaitGroup
		for _, p := range []guard.Priority{guard.Callback, guard.Token, guard.Page, guard.Accounts} {
			wg.Go(func() {
				if err := r.call(t.Context(), p); err != nil {
					t.Errorf("priority %d: %v", p, err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		var order []guard.Priority
		for _, c := range s.since(time.Time{}) {
			order = append(order, c.ofPriority)
		}
		if len(order) != 4 || order[0] != guard.Page || order[1] != guard.Callback || order[2] != guard.Token || order[3] != guard.Accounts {
			t.Errorf("they went in the order %v", order)
		}
	})
}

// Where there is nothing else, what spends something finds out, the one that has
// waited longest: three seconds, and not for ever.
func TestALoneCallbackGetsThrough(t *testing.T) {
	for _, p := range []guard.Priority{guard.Callback, guard.Token} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(time.Second, always(guard.Answer{Kind: guard.Alive}))
			r := fleet(t, 1, s, guard.Config{Rate: 100, ProbeWith: saysItWorks})[0]
			r.trial(t)
			begin := time.Now()
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					admitted, release, err := r.Admit(t.Context(), p)
					if err != nil {
						t.Error(err)
						return
					}
					defer release()
					if err := r.call(admitted, p); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(time.Second)
			}
			wg.Wait()
			calls := s.since(begin)
			if len(calls) != 3 || calls[0].at.Sub(begin) != 3*time.Second {
				t.Fatalf("%d calls, the first after %v", len(calls), calls[0].at.Sub(begin))
			}
			for _, c := range calls[1:] {
				if after := c.at.Sub(begin); after < 4*time.Second || after > 5*time.Second {
					t.Errorf("another one after %v", after)
				}
			}
		})
	}
}

// What comes while a callback waits goes first; what fails opens, and the callback
// is refused and not made. Who gave up waiting holds nobody up.
func TestACallbackIsNotTheOneThatTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(time.Second, always(guard.Answer{Kind: guard.Away, Why: "500"}))
		r := fleet(t, 1, s, guard.Config{ProbeWith: saysItWorks})[0]
		r.trial(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.call(ctx, guard.Callback); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the callback went at once: %v", err)
		}
		refused := make(chan error, 1)
		go func() { refused <- r.call(t.Context(), guard.Callback) }()
		time.Sleep(2900 * time.Millisecond)
		if err := r.call(t.Context(), guard.Accounts); err != nil {
			t.Error(err)
		}
		if err := <-refused; err == nil {
			t.Error("the callback was made")
		}
		wantOpen(t, true, r)
		if calls := s.since(time.Time{}); len(calls) != 1 || calls[0].ofPriority != guard.Accounts {
			t.Errorf("calls: %+v", calls)
		}
	})
}

// Lanes take one delivery each and are not emptied for nothing.
func TestLanesTakeOneDeliveryOnProbation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fleet(t, 1, newServer(0, nil), guard.Config{ProbeWith: saysItWorks})[0]
		r.trial(t)
		begin := time.Now()
		for p := guard.Callback; p <= guard.Page; p++ {
			if n := r.Wait(t.Context(), p, 7); n != 1 || time.Since(begin) != 0 {
				t.Errorf("priority %d: %d deliveries after %v", p, n, time.Since(begin))
			}
		}
		if n := r.Wait(t.Context(), guard.Page, 7); n != 1 || time.Since(begin) != 2*time.Second {
			t.Errorf("%d deliveries after %v", n, time.Since(begin))
		}
		got := make(chan int)
		go func() { got <- r.Wait(t.Context(), guard.Page, 7) }()
		r.probe(t, guard.Alive)
		if n := <-got; n != 7 || time.Since(begin) != 2*time.Second {
			t.Errorf("after a call that went well %d deliveries, %v after the first", n, time.Since(begin))
		}
	})
}
