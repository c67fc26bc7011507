package connectionkvtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// Records is the store of records.
type Records interface {
	Get(ctx context.Context, id string) (connection.Record, uint64, error)
	Create(ctx context.Context, r connection.Record) (uint64, error)
	Update(ctx context.Context, r connection.Record, revision uint64) (uint64, error)
	Delete(ctx context.Context, id string) error
}

// States is the store of state bindings.
type States interface {
	BindState(ctx context.Context, state, connectionID string) error
	LookupState(ctx context.Context, state string) (connection.StateBinding, error)
	ConsumeState(ctx context.Context, state string, seen connection.StateBinding, codeSHA256 string, at time.Time) error
	UnbindState(ctx context.Context, state string) error
}

// Store is all that the contract speaks of.
type Store interface {
	Records
	States
	List(ctx context.Context, each func(connection.Record) error) error
	Acquire(ctx context.Context, name, owner string, ttl time.Duration) (connection.Lease, error)
}

// racers is how many goroutines the racing tests start.
const racers = 16

// Run checks a store against the contract. open returns an empty store; it is
// called once a test.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for name, test := range map[string]func(*testing.T, context.Context, Store){
		"records are read as written":        recordsAreReadAsWritten,
		"create is for once":                 createIsForOnce,
		"update wants the newest revision":   updateWantsTheNewestRevision,
		"racing updates have one winner":     racingUpdatesHaveOneWinner,
		"racing creates have one winner":     racingCreatesHaveOneWinner,
		"deleted records are gone":           deletedRecordsAreGone,
		"list visits every record":           listVisitsEveryRecord,
		"list stops when told":               listStopsWhenTold,
		"a state belongs to one connection":  stateBelongsToOneConnection,
		"a state is consumed by one code":    stateIsConsumedByOneCode,
		"a state is consumed as it was seen": aStateIsConsumedAsItWasSeen,
		"racing consumers have one winner":   racingConsumersHaveOneWinner,
		"states may be any text":             statesMayBeAnyText,
		"a lease has one holder":             leaseHasOneHolder,
		"a released lease is free at once":   releasedLeaseIsFree,
		"a lease runs out unless renewed":    leaseRunsOutUnlessRenewed,
		"a holder that overslept notices":    oversleptHolderNotices,
		"a call without time changes little": aCallWithoutTime,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			test(t, ctx, open(t))
		})
	}
}

func record(id string) connection.Record {
	r := connection.New(id, "user-"+id, time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC))
	return r.SetMark("A1", connection.AccountMark{SucceededAt: "2026-11-22T05:00:00Z", Until: "2026-11-23"})
}

func mustCreate(t *testing.T, ctx context.Context, s Store, r connection.Record) uint64 {
	t.Helper()
	rev, err := s.Create(ctx, r)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return rev
}

// wantErr checks the sentinel and the verdict that goes with it.
func wantErr(t *testing.T, what string, err, target error, verdict fault.Verdict) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: got %v, want %v", what, err, target)
		return
	}
	if got := fault.Of(err); got != verdict || fault.DependencyOf(err) != "" {
		t.Errorf("%s: verdict %v of %q, want %v of nobody", what, got, fault.DependencyOf(err), verdict)
	}
}

func recordsAreReadAsWritten(t *testing.T, ctx context.Context, s Store) {
	want := record("c1")
	rev := mustCreate(t, ctx, s, want)
	got, gotRev, err := s.Get(ctx, "c1")
	if err != nil || gotRev != rev || !reflect.DeepEqual(got, want) {
		t.Errorf("Get: %v, revision %d (want %d)\ngot  %+v\nwant %+v", err, gotRev, rev, got, want)
	}
	_, _, err = s.Get(ctx, "c2")
	wantErr(t, "Get of none", err, connection.ErrNotFound, fault.Retry)
}

func createIsForOnce(t *testing.T, ctx context.Context, s Store) {
	rev := mustCreate(t, ctx, s, record("c1"))
	other := record("c1")
	other.UserID = "somebody else"
	_, err := s.Create(ctx, other)
	wantErr(t, "second Create", err, connection.ErrExists, fault.Retry)
	if got, gotRev, _ := s.Get(ctx, "c1"); got.UserID != "user-c1" || gotRev != rev {
		t.Errorf("the second Create changed the record: %+v", got)
	}
}

func updateWantsTheNewestRevision(t *testing.T, ctx context.Context, s Store) {
	r := record("c1")
	first := mustCreate(t, ctx, s, r)
	r.FlowID = "flow-1"
	second, err := s.Update(ctx, r, first)
	if err != nil || second <= first {
		t.Fatalf("Update: revision %d after %d, %v", second, first, err)
	}
	r.FlowID = "flow-2"
	_, err = s.Update(ctx, r, first)
	wantErr(t, "Update of an old revision", err, connection.ErrConflict, fault.Retry)
	_, err = s.Update(ctx, record("c2"), second)
	wantErr(t, "Update of none", err, connection.ErrConflict, fault.Retry)
	if _, err = s.Update(ctx, r, 0); err == nil {
		t.Error("Update without a revision overwrote the record")
	}
	if got, rev, _ := s.Get(ctx, "c1"); got.FlowID != "flow-1" || rev != second {
		t.Errorf("got %q at %d, want flow-1 at %d", got.FlowID, rev, second)
	}
}

// race runs f in many goroutines at once and returns how often it returned nil
// and how often each other error that is one of the allowed came.
func race(t *testing.T, f func(i int) error, allowed error) (won int) {
	t.Helper()
	var wg sync.WaitGroup
	start := make(chan struct{})
	errs := make([]error, racers)
	for i := range racers {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	for i, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, allowed):
			t.Errorf("racer %d: got %v, want %v", i, err, allowed)
		}
	}
	return won
}

func racingUpdatesHaveOneWinner(t *testing.T, ctx context.Context, s Store) {
	rev := mustCreate(t, ctx, s, record("c1"))
	won := race(t, func(i int) error {
		r := record("c1")
		r.FlowID = fmt.Sprint(i)
		_, err := s.Update(ctx, r, rev)
		return err
	}, connection.ErrConflict)
	if won != 1 {
		t.Errorf("%d of %d racers won", won, racers)
	}
}

func racingCreatesHaveOneWinner(t *testing.T, ctx context.Context, s Store) {
	won := race(t, func(i int) error {
		r := record("c1")
		r.FlowID = fmt.Sprint(i)
		_, err := s.Create(ctx, r)
		return err
	}, connection.ErrExists)
	if won != 1 {
		t.Errorf("%d of %d racers won", won, racers)
	}
}

func deletedRecordsAreGone(t *testing.T, ctx context.Context, s Store) {
	rev := mustCreate(t, ctx, s, record("c1"))
	mustCreate(t, ctx, s, record("c2"))
	for range 2 { // deleting nothing is no error
		if err := s.Delete(ctx, "c1"); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	_, _, err := s.Get(ctx, "c1")
	wantErr(t, "Get after Delete", err, connection.ErrNotFound, fault.Retry)
	_, err = s.Update(ctx, record("c1"), rev)
	wantErr(t, "Update after Delete", err, connection.ErrConflict, fault.Retry)
	if seen := listed(t, ctx, s); !reflect.DeepEqual(seen, map[string]int{"c2": 1}) {
		t.Errorf("listed %v", seen)
	}
	if again := mustCreate(t, ctx, s, record("c1")); again <= rev {
		t.Errorf("created again at revision %d, before %d", again, rev)
	}
}

func listed(t *testing.T, ctx context.Context, s Store) map[string]int {
	t.Helper()
	seen := map[string]int{}
	err := s.List(ctx, func(r connection.Record) error {
		seen[r.ID]++
		return nil
	})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	return seen
}

func listVisitsEveryRecord(t *testing.T, ctx context.Context, s Store) {
	if seen := listed(t, ctx, s); len(seen) != 0 {
		t.Fatalf("an empty store lists %v", seen)
	}
	want := map[string]int{}
	for i := range 40 {
		id := fmt.Sprint("c", i)
		rev := mustCreate(t, ctx, s, record(id))
		want[id] = 1
		if i%3 == 0 { // several revisions are still one record
			if _, err := s.Update(ctx, record(id), rev); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.BindState(ctx, "st-1", "c1"); err != nil { // and a binding is none
		t.Fatal(err)
	}
	if seen := listed(t, ctx, s); !reflect.DeepEqual(seen, want) {
		t.Errorf("listed %v", seen)
	}
}

func listStopsWhenTold(t *testing.T, ctx context.Context, s Store) {
	for i := range 5 {
		mustCreate(t, ctx, s, record(fmt.Sprint("c", i)))
	}
	enough, seen := errors.New("enough"), 0
	err := s.List(ctx, func(connection.Record) error {
		seen++
		if seen == 2 {
			return enough
		}
		return nil
	})
	if err != enough || seen != 2 { //nolint:errorlint // as it is, not wrapped
		t.Errorf("saw %d, then %v", seen, err)
	}
}

func aCallWithoutTime(t *testing.T, ctx context.Context, s Store) {
	rev := mustCreate(t, ctx, s, record("c1"))
	gone, cancel := context.WithCancel(ctx)
	cancel()
	r := record("c1")
	r.FlowID = "late"
	for what, err := range map[string]error{
		"Get":         second(s.Get(gone, "c1")),
		"Update":      first(s.Update(gone, r, rev)),
		"Delete":      s.Delete(gone, "c1"),
		"BindState":   s.BindState(gone, "st-1", "c1"),
		"LookupState": first(s.LookupState(gone, "st-1")),
		"Acquire":     first(s.Acquire(gone, "l1", "me", time.Second)),
		"List":        s.List(gone, func(connection.Record) error { return nil }),
	} {
		if !errors.Is(err, context.Canceled) || fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.NATS {
			t.Errorf("%s on a cancelled context: %v, verdict %v of %q", what, err, fault.Of(err), fault.DependencyOf(err))
		}
	}
}

func first[T any](_ T, err error) error          { return err }
func second[T, U any](_ T, _ U, err error) error { return err }
