package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// shelf is an inventory of so many ids, in order.
type shelf struct {
	ids   []string
	lists int
	fails error // after the last id
}

func (s *shelf) List(_ context.Context, each func(string) error) error {
	s.lists++
	for _, id := range s.ids {
		if err := each(id); err != nil {
			return err
		}
	}
	return s.fails
}

func shelfOf(n int) *shelf {
	s := &shelf{}
	for i := range n {
		s.ids = append(s.ids, fmt.Sprintf("%08x-0000-5000-8000-00000000000f", i*7))
	}
	return s
}

func TestInventoryComesInPiecesAndLosesNothing(t *testing.T) {
	const limit = 10
	for _, n := range []int{0, 1, 9, 10, 11, 20, 25} {
		s := shelfOf(n)
		f := &Flow{Config: Config{Background: &Background{Inventory: s}}}
		var got []string
		var from connectionID
		for more := true; more; {
			ids, beyond, err := f.inventory(t.Context(), from, limit)
			if err != nil || len(ids) > limit {
				t.Fatalf("%d: %d ids, %v", n, len(ids), err)
			}
			for _, id := range ids {
				got = append(got, id.String())
			}
			from, more = beyond, beyond != connectionID{}
		}
		if !slices.Equal(got, s.ids) {
			t.Errorf("%d: got %v", n, got)
		}
		if want := max(1, (n+limit-1)/limit); s.lists != want {
			t.Errorf("%d: %d lists, want %d", n, s.lists, want)
		}
	}
}

func TestInventoryBeginsWhereASweepStopped(t *testing.T) {
	s := shelfOf(5)
	f := &Flow{Config: Config{Background: &Background{Inventory: s}}}
	from, err := parseConnectionID(s.ids[3])
	if err != nil {
		t.Fatal(err)
	}
	ids, _, err := f.inventory(t.Context(), from, 10)
	if err != nil || len(ids) != 2 || ids[0] != from {
		t.Errorf("got %v, %v", ids, err)
	}
	// An id that was erased meanwhile: its successor comes first.
	from[15]++
	if ids, _, err = f.inventory(t.Context(), from, 10); err != nil || len(ids) != 1 {
		t.Errorf("after it: %v, %v", ids, err)
	}
}

func TestAnInventoryThatBreaksOffIsNoInventory(t *testing.T) {
	s := shelfOf(5)
	s.fails = errors.New("cut off")
	f := &Flow{Config: Config{Background: &Background{Inventory: s}}}
	if ids, _, err := f.inventory(t.Context(), connectionID{}, 10); !errors.Is(err, s.fails) || ids != nil {
		t.Errorf("got %v, %v", ids, err)
	}
	s.ids[2], s.fails = "not-a-uuid", nil
	if _, _, err := f.inventory(t.Context(), connectionID{}, 10); !errors.Is(err, errNoID) {
		t.Errorf("an odd id: %v", err)
	}
}

func TestConnectionIDKeepsTextAndOrder(t *testing.T) {
	last := ""
	for _, text := range []string{
		"00000000-0000-5000-8000-000000000001", "00000000-0000-5000-8000-0000000000ff", "0a000000-0000-5000-8000-000000000000",
		"6f9619ff-8b86-5011-b42d-00c04fc964ff", "ffffffff-ffff-5fff-bfff-ffffffffffff",
	} {
		id, err := parseConnectionID(text)
		if err != nil || id.String() != text {
			t.Errorf("%s became %s, %v", text, id, err)
		}
		if last >= text {
			t.Errorf("%s stands before %s", last, text)
		}
		last = text
	}
	for _, bad := range []string{"", "6f9619ff", "6f9619ff-8b86-5011-b42d-00c04fc964fg", "6f9619ff-8b86-5011-b42d-00c04fc964ff0"} {
		if _, err := parseConnectionID(bad); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}
