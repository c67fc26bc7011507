package guard_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// A call that was admitted before the server named a time is not made before it; the
// repetition of one that was made is.
func TestAnAdmittedCallKeepsToANamedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := guard.New(guard.Config{Name: "finx", Concurrency: 2})
		if err != nil {
			t.Fatal(err)
		}
		waits, release, err := g.Admit(t.Context(), guard.Token)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		made, drop, err := g.Admit(t.Context(), guard.Token)
		if err != nil {
			t.Fatal(err)
		}
		defer drop()
		end, err := g.Begin(made, guard.Token)
		if err != nil {
			t.Fatal(err)
		}
		until := time.Now().Add(2 * time.Hour)
		end(guard.Answer{Kind: guard.Throttled, Until: until})
		time.Sleep(20 * time.Second) // Vault is slow to take the mark
		_, err = g.Begin(waits, guard.Token)
		if at, ok := fault.Until(err); !ok || at.Before(until) {
			t.Errorf("called before the time that everybody was told: %v", err)
		}
		again, err := g.Begin(made, guard.Token)
		if err != nil {
			t.Fatal(err)
		}
		again(guard.Answer{})
		time.Sleep(3 * time.Hour) // every turn was given back
		for range 2 {
			end, err := g.Begin(t.Context(), guard.Page)
			if err != nil {
				t.Fatal(err)
			}
			end(guard.Answer{Kind: guard.Alive})
		}
	})
}
