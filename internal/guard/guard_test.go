package guard_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

func TestItOpensAfterFailuresInARowAndClosesByOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := guard.New(guard.Config{Name: "finx"})
		if err != nil {
			t.Fatal(err)
		}
		one := func(k guard.Kind) error {
			end, err := g.Begin(t.Context(), guard.Page)
			if err == nil {
				end(guard.Answer{Kind: k, Why: "it hangs"})
			}
			return err
		}
		for _, k := range []guard.Kind{guard.Away, guard.Away, guard.Alive, guard.Away, guard.Unknown, guard.Away, guard.Away, guard.Away} {
			if err := one(k); err != nil {
				t.Fatalf("it is open before five failures in a row: %v", err)
			}
		}
		if err := one(guard.Away); err != nil {
			t.Fatal(err)
		}
		err = one(guard.Alive)
		until, ok := fault.Until(err)
		if !ok || fault.DependencyOf(err) != fault.FinX {
			t.Fatalf("a call after five failures: %v", err)
		}
		if wait := time.Until(until); wait < 500*time.Millisecond || wait > time.Second {
			t.Errorf("told to come back in %v", wait)
		}
		if s := g.Status(); !s.Open || s.Trips != 1 || s.Why != "it hangs" || !s.Until.Equal(until) {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Until(until))
		end, err := g.Begin(t.Context(), guard.Page)
		if err != nil {
			t.Fatalf("the probe is refused: %v", err)
		}
		if err := one(guard.Alive); err == nil {
			t.Error("a second call went out beside the probe")
		}
		end(guard.Answer{Kind: guard.Alive})
		if err := one(guard.Alive); err != nil {
			t.Errorf("it is open after the probe: %v", err)
		}
	})
}
