package guard_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/guard"
)

func newGuard(t *testing.T, cfg guard.Config) *guard.Guard {
	t.Helper()
	cfg.Name = "finx"
	g, err := guard.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func begin(t *testing.T, ctx context.Context, g *guard.Guard) func(guard.Answer) {
	t.Helper()
	end, err := g.Begin(ctx, guard.Token)
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// Who was admitted goes out at once: beside as many as there may be, while it is
// open, and a second time.
func TestWhoIsAdmittedNeverWaitsNorIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Concurrency: 2, Rate: 1})
		admitted, release, err := g.Admit(t.Context(), guard.Token)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		time.Sleep(time.Second)
		end := begin(t, t.Context(), g) // takes the other place
		began := time.Now()
		first := begin(t, admitted, g)
		second := begin(t, admitted, g)
		end(guard.Answer{Kind: guard.Throttled, Until: time.Now().Add(time.Hour)})
		third := begin(t, admitted, g)
		if d := time.Since(began); d > 0 {
			t.Errorf("they waited %v", d)
		}
		if _, err := g.Begin(t.Context(), guard.Callback); err == nil {
			t.Error("somebody else was let through too")
		}
		for _, end := range []func(guard.Answer){first, second, third} {
			end(guard.Answer{Kind: guard.Alive})
		}
		if !g.Status().Open {
			t.Error("it closed before the time that the server named")
		}
	})
}

// The repetition counts for the rate: who comes next waits for it.
func TestARepetitionCountsForTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Rate: 1})
		admitted, release, err := g.Admit(t.Context(), guard.Token)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 3 {
			begin(t, admitted, g)(guard.Answer{Kind: guard.Alive})
		}
		release()
		begin(t, t.Context(), g)(guard.Answer{Kind: guard.Alive})
		if d := time.Since(began); d < 2900*time.Millisecond || d > 3*time.Second {
			t.Errorf("the call after three went out after %v", d)
		}
	})
}

// What is given back unused goes to the next: the place, the rate and the probe.
func TestReleaseGivesBackWhatWasNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		replicas := fleet(t, 2, newServer(0, nil), guard.Config{Shared: store, Concurrency: 1, Rate: 0.02})
		a, b := replicas[0], replicas[1]
		began := time.Now()
		for range 5 {
			_, release, err := a.Admit(t.Context(), guard.Token)
			if err != nil {
				t.Fatal(err)
			}
			release()
			release()
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("turns that were given back made others wait %v", d)
		}
		end := begin(t, t.Context(), a.Guard)
		end(guard.Answer{Kind: guard.Throttled, Until: time.Now().Add(time.Hour)})
		synctest.Wait()
		time.Sleep(time.Hour)
		_, release, err := b.Admit(t.Context(), guard.Token)
		if err != nil {
			t.Fatalf("the probe: %v", err)
		}
		synctest.Wait()
		time.Sleep(2 * time.Second)
		a.refused(t)
		release()
		synctest.Wait()
		a.probe(t, guard.Alive)
		wantOpen(t, false, a, b)
	})
}

// A ticket is of one call's time: after its release the context is like any other,
// and a turn that was used is not given back twice.
func TestAReleasedTicketIsWorthNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Concurrency: 1})
		admitted, release, err := g.Admit(t.Context(), guard.Token)
		if err != nil {
			t.Fatal(err)
		}
		end := begin(t, admitted, g)
		release()
		ctx, cancel := context.WithTimeout(admitted, time.Second)
		defer cancel()
		if _, err := g.Begin(ctx, guard.Token); err == nil {
			t.Error("a second call went out beside the one there may be")
		}
		end(guard.Answer{Kind: guard.Alive})
		begin(t, admitted, g)(guard.Answer{Kind: guard.Alive})

		other := newGuard(t, guard.Config{Concurrency: 1})
		_, release, err = other.Admit(admitted, guard.Token)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
	})
}

// An admitted probe decides, and so does the repetition of one that failed.
func TestTheCallOfATicketIsTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Failures: 1})
		begin(t, t.Context(), g)(guard.Answer{Kind: guard.Away})
		time.Sleep(time.Second)
		admitted, release, err := g.Admit(t.Context(), guard.Token)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		begin(t, admitted, g)(guard.Answer{Kind: guard.Away})
		if st := g.Status(); !st.Open || st.Trips != 2 {
			t.Errorf("after the probe failed: %+v", st)
		}
		begin(t, admitted, g)(guard.Answer{Kind: guard.Alive})
		if g.Status().Open {
			t.Error("the repetition found it working, and it is open")
		}
	})
}

// What hangs since before it closed neither holds up the slow start nor, when it
// ends, makes room for more.
func TestWhatHangsDoesNotCountAgainstTheSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Concurrency: 8, Failures: 1})
		admitted, release, err := g.Admit(t.Context(), guard.Token)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		hanging := []func(guard.Answer){begin(t, t.Context(), g), begin(t, t.Context(), g), begin(t, t.Context(), g)}
		begin(t, t.Context(), g)(guard.Answer{Kind: guard.Away})
		time.Sleep(time.Second)
		begin(t, t.Context(), g)(guard.Answer{Kind: guard.Alive})
		for _, end := range hanging {
			end(guard.Answer{Kind: guard.Unknown})
		}
		busy := func(what string, ends ...func(guard.Answer)) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if end, err := g.Begin(ctx, guard.Page); err == nil {
				end(guard.Answer{})
				t.Error(what)
			}
			for _, end := range ends {
				end(guard.Answer{Kind: guard.Unknown})
			}
		}
		busy("a second call goes out beside the first", begin(t, t.Context(), g))
		busy("a call goes out beside the one that was admitted before", begin(t, admitted, g))
		begin(t, t.Context(), g)(guard.Answer{Kind: guard.Unknown})
	})
}
