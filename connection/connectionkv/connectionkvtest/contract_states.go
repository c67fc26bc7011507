package connectionkvtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func stateBelongsToOneConnection(t *testing.T, ctx context.Context, s Store) {
	_, err := s.LookupState(ctx, "st-1")
	wantErr(t, "LookupState of none", err, connection.ErrNotFound, fault.Retry)
	for range 2 {
		if err := s.BindState(ctx, "st-1", "c1"); err != nil {
			t.Fatalf("BindState: %v", err)
		}
	}
	wantErr(t, "BindState to another", s.BindState(ctx, "st-1", "c2"), connection.ErrStateTaken, fault.GiveUp)
	got, err := s.LookupState(ctx, "st-1")
	if got.Revision = 0; err != nil || got != (connection.StateBinding{ConnectionID: "c1"}) {
		t.Errorf("LookupState: %+v, %v", got, err)
	}
	for range 2 { // unbinding nothing is no error
		if err := s.UnbindState(ctx, "st-1"); err != nil {
			t.Fatalf("UnbindState: %v", err)
		}
	}
	_, err = s.LookupState(ctx, "st-1")
	wantErr(t, "LookupState after UnbindState", err, connection.ErrNotFound, fault.Retry)
	if err := s.BindState(ctx, "st-1", "c2"); err != nil {
		t.Errorf("BindState after UnbindState: %v", err)
	}
}

func stateIsConsumedByOneCode(t *testing.T, ctx context.Context, s Store) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 5, time.UTC)
	wantErr(t, "ConsumeState of none", s.ConsumeState(ctx, "st-1", connection.StateBinding{}, "aa", at), connection.ErrNotFound, fault.Retry)
	if err := s.BindState(ctx, "st-1", "c1"); err != nil {
		t.Fatal(err)
	}
	if err := s.ConsumeState(ctx, "st-1", connection.StateBinding{}, "", at); err == nil {
		t.Error("consumed by no code")
	}
	for i := range 2 { // again with the same code: the first time stands
		if err := s.ConsumeState(ctx, "st-1", connection.StateBinding{}, "aa", at.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatalf("ConsumeState: %v", err)
		}
	}
	wantErr(t, "ConsumeState with another code", s.ConsumeState(ctx, "st-1", connection.StateBinding{}, "bb", at), connection.ErrStateConsumed, fault.GiveUp)
	want := connection.StateBinding{ConnectionID: "c1", ConsumedAt: at, CodeSHA256: "aa"}
	if err := s.BindState(ctx, "st-1", "c1"); err != nil { // a redelivered connect does not free it
		t.Errorf("BindState of a consumed state: %v", err)
	}
	got, err := s.LookupState(ctx, "st-1")
	if got.Revision = 0; err != nil || got != want {
		t.Errorf("LookupState: %+v, %v", got, err)
	}
}

// aStateIsConsumedAsItWasSeen, and where it has changed since, what it is now counts.
func aStateIsConsumedAsItWasSeen(t *testing.T, ctx context.Context, s Store) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 5, time.UTC)
	if err := s.BindState(ctx, "st-1", "c1"); err != nil {
		t.Fatal(err)
	}
	seen, err := s.LookupState(ctx, "st-1")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 { // the second time it is no longer what was seen
		if err := s.ConsumeState(ctx, "st-1", seen, "aa", at.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatalf("ConsumeState: %v", err)
		}
	}
	wantErr(t, "ConsumeState with another code", s.ConsumeState(ctx, "st-1", seen, "bb", at), connection.ErrStateConsumed, fault.GiveUp)
	got, err := s.LookupState(ctx, "st-1")
	if err != nil || got.ConnectionID != "c1" || got.CodeSHA256 != "aa" || !got.ConsumedAt.Equal(at) {
		t.Errorf("LookupState: %+v, %v", got, err)
	}
	if err := s.UnbindState(ctx, "st-1"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "ConsumeState of one that is gone", s.ConsumeState(ctx, "st-1", seen, "aa", at), connection.ErrNotFound, fault.Retry)
	if err := s.BindState(ctx, "st-1", "c2"); err != nil {
		t.Fatal(err)
	}
	if err := s.ConsumeState(ctx, "st-1", seen, "aa", at); err != nil {
		t.Fatalf("ConsumeState: %v", err)
	}
	if got, err := s.LookupState(ctx, "st-1"); err != nil || got.ConnectionID != "c2" {
		t.Errorf("what was seen of a binding that is gone came back: %+v, %v", got, err)
	}
}

func racingConsumersHaveOneWinner(t *testing.T, ctx context.Context, s Store) {
	if err := s.BindState(ctx, "st-1", "c1"); err != nil {
		t.Fatal(err)
	}
	seen, err := s.LookupState(ctx, "st-1")
	if err != nil {
		t.Fatal(err)
	}
	won := race(t, func(i int) error {
		return s.ConsumeState(ctx, "st-1", seen, fmt.Sprintf("%02x", i), time.Now())
	}, connection.ErrStateConsumed)
	if won != 1 {
		t.Errorf("%d of %d codes consumed the state", won, racers)
	}
	if err := s.BindState(ctx, "st-2", "c1"); err != nil {
		t.Fatal(err)
	}
	won = race(t, func(int) error { return s.ConsumeState(ctx, "st-2", connection.StateBinding{}, "aa", time.Now()) }, nil)
	if won != racers {
		t.Errorf("%d of %d deliveries of one callback got through", won, racers)
	}
}

func statesMayBeAnyText(t *testing.T, ctx context.Context, s Store) {
	for i, state := range []string{" ", "a.b.>", "*", "ü\x00\n", strings.Repeat("s", 1024), "A", "a"} {
		id := fmt.Sprint("c", i)
		if err := s.BindState(ctx, state, id); err != nil {
			t.Errorf("BindState(%q): %v", state, err)
		}
		if got, err := s.LookupState(ctx, state); err != nil || got.ConnectionID != id {
			t.Errorf("LookupState(%q): %+v, %v", state, got, err)
		}
	}
	if err := s.BindState(ctx, "", "c1"); fault.Of(err) != fault.GiveUp {
		t.Errorf("bound the empty state: %v", err)
	}
}
