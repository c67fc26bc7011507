package flow

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
)

// herd is a catalogue of so many overdue connections, the most urgent last.
type herd struct {
	n   int
	err error
}

func (h herd) List(_ context.Context, each func(connection.Record) error) error {
	oldest := time.Now().Add(-60 * day)
	for i := range h.n {
		err := each(connection.Record{
			ID: fmt.Sprintf("00000000-0000-5000-8000-%012d", i), State: connection.Established,
			RefreshObtainedAt: oldest.Add(-time.Duration(i) * time.Microsecond),
		})
		if err != nil {
			return err
		}
	}
	return h.err
}

func TestAWalkRemembersTheMostUrgentOnly(t *testing.T) {
	unreadable := errors.New("one record is unreadable")
	f := &Flow{Config: Config{Background: &Background{Catalogue: herd{n: 1000, err: unreadable}, Lifetime: 90 * day, Lead: 30 * day}}}
	list, more, err := f.overdue(t.Context(), 10, f.lost(time.Now()))
	if len(list) != 10 || cap(list) > 100 || !more || !errors.Is(err, unreadable) {
		t.Fatalf("%d of %d, more: %v, error %v", len(list), cap(list), more, err)
	}
	for i, one := range list {
		if want := fmt.Sprintf("00000000-0000-5000-8000-%012d", 999-i); one.id != want {
			t.Errorf("the %d. is %s, want %s", i+1, one.id, want)
		}
	}
	f.Background.Catalogue = herd{n: 10}
	if list, more, err := f.overdue(t.Context(), 10, f.lost(time.Now())); len(list) != 10 || more || err != nil {
		t.Errorf("%d, more: %v, error %v", len(list), more, err)
	}
}

// BenchmarkWalk is the walk's own part of a walk over a million connections that
// are all overdue.
func BenchmarkWalk(b *testing.B) {
	f := &Flow{Config: Config{Background: &Background{Catalogue: herd{n: 1_000_000}, Lifetime: 90 * day, Lead: 30 * day}}}
	b.ReportAllocs()
	for b.Loop() {
		if list, _, err := f.overdue(b.Context(), catchUpKeep, f.lost(time.Now())); len(list) != catchUpKeep || err != nil {
			b.Fatal(len(list), err)
		}
	}
}
