package waiting_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/finx-connector/finx-connector/internal/waiting"
)

type guest struct{ urgency, came int }

func (g guest) Before(other guest) bool { return order(g, other) < 0 }

func order(a, b guest) int { return cmp.Or(a.urgency-b.urgency, a.came-b.came) }

// TestALineServesTheMostUrgent lets guests come, leave and be served at random, and
// keeps the line as a sorted list beside.
func TestALineServesTheMostUrgent(t *testing.T) {
	var line waiting.Line[guest]
	if _, ok := line.Next(); ok {
		t.Fatal("somebody waits in an empty line")
	}
	r := rand.New(rand.NewPCG(1, 2))
	want, places := []guest{}, map[guest]*waiting.Place[guest]{}
	for n := range 20_000 {
		switch i := r.IntN(len(want) + 1); {
		case r.IntN(5) < 3 || len(want) == 0:
			g := guest{r.IntN(20), n}
			places[g] = line.Add(g)
			want = append(want, g)
		case i < len(want) && r.IntN(2) == 0:
			g := want[i]
			want = slices.Delete(want, i, i+1)
			if !places[g].Waits() || !line.Remove(places[g]) || line.Remove(places[g]) || places[g].Waits() {
				t.Fatalf("%v does not leave once", g)
			}
		default:
			slices.SortFunc(want, order)
			got, ok := line.Next()
			if !ok || got != want[0] || places[got].Waits() {
				t.Fatalf("served %v, want %v", got, want[0])
			}
			want = want[1:]
		}
		if line.Len() != len(want) {
			t.Fatalf("%d wait, want %d", line.Len(), len(want))
		}
	}
	slices.SortFunc(want, order)
	if got := slices.SortedFunc(line.All(), order); !slices.Equal(got, want) {
		t.Errorf("%d wait, want %d", len(got), len(want))
	}
}
