package guard_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// Whoever hears it first, nobody asks before the time that the server named, and
// then one does.
func TestNobodyAsksBeforeTheTimeTheServerNamed(t *testing.T) {
	for _, c := range []struct {
		name   string
		named  time.Duration // 0: no time
		leaves time.Duration // at least so long nobody calls
	}{
		{"a second", time.Second, time.Second},
		{"two minutes", 2 * time.Minute, 2 * time.Minute},
		{"two hours", 2 * time.Hour, 2 * time.Hour},
		{"no time", 0, 500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at := time.Now().Add(10 * time.Second)
				until := at.Add(c.named)
				s := newServer(30*time.Millisecond, func(now time.Time) guard.Answer {
					a := guard.Answer{Kind: guard.Throttled, Why: "429"}
					switch {
					case now.Before(at), now.After(at.Add(c.leaves)):
						return guard.Answer{Kind: guard.Alive}
					case c.named > 0:
						a.Until = until
					}
					return a
				})
				replicas := fleet(t, 3, s, guard.Config{Shared: newMemory(), Concurrency: 20})
				stop := crowd(t, 50, guard.Page, replicas...) // 30 of them wait in the queue
				time.Sleep(time.Until(at.Add(c.leaves + 10*time.Second)))
				stop()

				opened := slices.IndexFunc(s.calls, func(a arrival) bool { return a.answer == guard.Throttled })
				told := s.calls[opened].until
				first := at.Add(c.leaves)
				if c.named == 0 {
					first = told.Add(c.leaves)
				}
				after := slices.DeleteFunc(s.since(told), func(a arrival) bool {
					return a.at.Equal(told) // gone out in the moment in which another was told
				})
				slices.SortFunc(after, func(a, b arrival) int { return a.at.Compare(b.at) })
				if len(after) < 100 {
					t.Fatalf("%d calls after the time that was named", len(after))
				}
				if got := after[0].at; got.Before(first) {
					t.Errorf("a call went out %v too early", first.Sub(got))
				} else if late := got.Sub(first); late > 2*time.Second {
					t.Errorf("the first call went out %v late", late)
				}
				if after[1].at.Before(after[0].until) {
					t.Error("a second call went out beside the probe")
				}
			})
		})
	}
}

// What waits for its turn is refused when the server throttles, with the same time.
func TestThrottlingRefusesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := guard.New(guard.Config{Name: "finx", Concurrency: 1})
		if err != nil {
			t.Fatal(err)
		}
		end, err := g.Begin(t.Context(), guard.Page)
		if err != nil {
			t.Fatal(err)
		}
		refused := make(chan error, 20)
		for range cap(refused) {
			go func() {
				_, err := g.Begin(t.Context(), guard.Callback)
				refused <- err
			}()
		}
		synctest.Wait()
		until := time.Now().Add(2 * time.Hour)
		end(guard.Answer{Kind: guard.Throttled, Until: until, Why: "429"})
		for range cap(refused) {
			if got, ok := fault.Until(<-refused); !ok || !got.Equal(until) {
				t.Errorf("a call in the queue was told to wait until %v, want %v", got, until)
			}
		}
	})
}

// Answers to what was under way put the time off, never forward, and a success
// among them opens nothing.
func TestAnswersToWhatWasUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := guard.New(guard.Config{Name: "finx"})
		if err != nil {
			t.Fatal(err)
		}
		var ends []func(guard.Answer)
		for range 14 {
			end, err := g.Begin(t.Context(), guard.Page)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, end)
		}
		now := time.Now()
		for i, step := range []struct {
			answer guard.Answer
			until  time.Duration
		}{
			{guard.Answer{Kind: guard.Throttled, Until: now.Add(time.Minute)}, time.Minute},
			{guard.Answer{Kind: guard.Throttled, Until: now.Add(3 * time.Second)}, time.Minute},
			{guard.Answer{Kind: guard.Throttled, Until: now.Add(time.Hour)}, time.Hour},
			{guard.Answer{Kind: guard.Throttled}, time.Hour},
			{guard.Answer{Kind: guard.Away}, time.Hour},
			{guard.Answer{Kind: guard.Alive}, time.Hour},
			{guard.Answer{Kind: guard.Unknown}, time.Hour},
		} {
			ends[i](step.answer)
			if st := g.Status(); !st.Open || !st.Until.Equal(now.Add(step.until)) || st.Trips != 1 {
				t.Errorf("after answer %d: %+v, want it open for %v and one trip", i, st, step.until)
			}
		}
		time.Sleep(time.Hour)
		ends[7](guard.Answer{Kind: guard.Alive}) // begun before
		if !g.Status().Open {
			t.Error("an answer to a call of the time before closed it")
		}
		end, err := g.Begin(t.Context(), guard.Page)
		if err != nil {
			t.Fatal(err)
		}
		ends[8](guard.Answer{Kind: guard.Throttled, Until: time.Now().Add(time.Minute)})
		end(guard.Answer{Kind: guard.Alive})
		if !g.Status().Open {
			t.Error("the probe closed it although the server asked for another minute meanwhile")
		}
		time.Sleep(time.Minute)
		if end, err = g.Begin(t.Context(), guard.Page); err != nil {
			t.Fatal(err)
		}
		end(guard.Answer{Kind: guard.Alive})
		for _, end := range ends[9:] {
			end(guard.Answer{Kind: guard.Away}) // of a time long gone
		}
		if g.Status().Open {
			t.Error("failures of calls of an earlier time opened it again")
		}
	})
}

// A straggler that hears of a later time while a probe is under way ends neither the
// probe nor its being the only one; the probe that ends before that time gives way
// to the next, of any replica.
func TestAStragglerBesideTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replicas := fleet(t, 2, newServer(0, nil), guard.Config{Shared: newMemory()})
		a, b := replicas[0], replicas[1]
		straggler, last := begin(t, t.Context(), b.Guard), begin(t, t.Context(), b.Guard)
		now := time.Now()
		begin(t, t.Context(), a.Guard)(guard.Answer{Kind: guard.Throttled, Until: now.Add(time.Second)})
		synctest.Wait()
		time.Sleep(time.Second)
		probe := begin(t, t.Context(), b.Guard)
		synctest.Wait()
		straggler(guard.Answer{Kind: guard.Throttled, Until: now.Add(2 * time.Second)})
		synctest.Wait()
		time.Sleep(10 * time.Second)
		for _, r := range replicas {
			if st := r.Status(); !st.Probing || st.Trips != 1 || !st.Until.Equal(now.Add(2*time.Second)) {
				t.Errorf("%s: %+v", r.name, st)
			}
			r.refused(t)
		}
		last(guard.Answer{Kind: guard.Throttled, Until: now.Add(20 * time.Second)})
		probe(guard.Answer{Kind: guard.Throttled, Until: now.Add(15 * time.Second)})
		synctest.Wait()
		time.Sleep(9 * time.Second)
		for _, r := range replicas {
			if st := r.Status(); st.Probing || !st.Until.Equal(now.Add(20*time.Second)) {
				t.Errorf("%s: %+v", r.name, st)
			}
		}
		a.probe(t, guard.Alive)
		wantOpen(t, false, a, b)
	})
}

// The wait doubles up to Max, however many answers say the same at once.
func TestTheWaitGrowsOncePerProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := guard.New(guard.Config{Name: "finx", First: 2 * time.Second, Max: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for trip, most := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second} {
			end, err := g.Begin(t.Context(), guard.Page)
			if err != nil {
				t.Fatal(err)
			}
			end(guard.Answer{Kind: guard.Throttled})
			st := g.Status()
			if wait := time.Until(st.Until); wait < most/2 || wait > most || st.Trips != trip+1 {
				t.Errorf("after trip %d it waits %v, want %v to %v; %+v", trip+1, wait, most/2, most, st)
			}
			time.Sleep(time.Until(st.Until))
		}
	})
}

// A caller whose ctx ends while it waits leaves no trace in the queue.
func TestTheContextEndsInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := guard.New(guard.Config{Name: "finx", Concurrency: 1})
		if err != nil {
			t.Fatal(err)
		}
		end, err := g.Begin(t.Context(), guard.Page)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = g.Begin(ctx, guard.Link); fault.Of(err) != fault.WaitUntil || fault.DependencyOf(err) != fault.FinX {
			t.Errorf("the verdict of %v is %v", err, fault.Of(err))
		}
		if ctx.Err() == nil || context.Cause(ctx) == nil {
			t.Error("it did not wait")
		}
		end(guard.Answer{Kind: guard.Alive})
		if end, err = g.Begin(t.Context(), guard.Page); err != nil {
			t.Fatalf("the turn of who left is lost: %v", err)
		}
		end(guard.Answer{})
	})
}
