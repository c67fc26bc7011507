package connectionkvtest

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// SharedStates are small values that replicas share, as their contract speaks of
// them.
type SharedStates interface {
	Load(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Save(ctx context.Context, key string, value []byte, revision uint64) (newRevision uint64, err error)
	Watch(ctx context.Context, key string, each func(value []byte, revision uint64)) error
}

// Replicas is how many there are, and what each does to be one of them.
type Replicas interface {
	Announce(ctx context.Context)
	Replicas() int
}

// Suspects are the deliveries that were begun.
type Suspects interface {
	Begun(ctx context.Context, stream string, sequence uint64) (times int, err error)
	Returned(ctx context.Context, stream string, sequence uint64) error
}

// Controller is what one replica has of all this.
type Controller interface {
	SharedStates
	Replicas
	Suspects
}

// ControlRig is a bucket and who uses it. It may hold what others left there.
type ControlRig struct {
	Open   func(t *testing.T, holder string) Controller // a replica with a connection of its own
	Delete func(t *testing.T, key string)               // as an operator would
	Kill   func(holder string)                          // cuts a replica off
	TTL    time.Duration                                // how long a killed one counts
}

// RunControl checks what replicas share against the contract. rig is called once a
// test.
func RunControl(t *testing.T, rig func(t *testing.T) ControlRig) {
	for name, test := range map[string]func(*testing.T, context.Context, ControlRig){
		"what was saved is loaded":             whatWasSavedIsLoaded,
		"a save is a compare-and-set":          aSaveIsACompareAndSet,
		"a deleted key is as none":             aDeletedKeyIsAsNone,
		"one of racing saves wins":             oneOfRacingSavesWins,
		"a watch tells of every change":        aWatchTellsOfEveryChange,
		"a watch begins with what is there":    aWatchBeginsWithWhatIsThere,
		"a watch ends with its context":        aWatchEndsWithItsContext,
		"other keys are refused, states":       strangeKeysAreRefused,
		"a caller without time is told, state": aStateCallerWithoutTime,
		"nobody shares a state's bytes":        nobodySharesAStatesBytes,
		"replicas are counted":                 replicasAreCounted,
		"begun without return is counted":      begunWithoutReturnIsCounted,
		"racing begins are all counted":        racingBeginsAreAllCounted,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			test(t, ctx, rig(t))
		})
	}
}

// newKey is a key nobody else has.
func newKey() string { return "breaker." + rand.Text() }

func mustSave(t *testing.T, ctx context.Context, s SharedStates, key, value string, revision uint64) uint64 {
	t.Helper()
	next, err := s.Save(ctx, key, []byte(value), revision)
	if err != nil || next <= revision {
		t.Fatalf("Save after revision %d: %d, %v", revision, next, err)
	}
	return next
}

// wantState checks a value; the empty want is none.
func wantState(t *testing.T, ctx context.Context, s SharedStates, key, want string, revision uint64) {
	t.Helper()
	got, at, err := s.Load(ctx, key)
	if err != nil || string(got) != want || at != revision || (got == nil) != (revision == 0) {
		t.Errorf("Load: %q at %d, %v; want %q at %d", got, at, err, want, revision)
	}
}

func whatWasSavedIsLoaded(t *testing.T, ctx context.Context, rig ControlRig) {
	a, b, key, other := rig.Open(t, "a"), rig.Open(t, "b"), newKey(), newKey()
	wantState(t, ctx, a, key, "", 0)
	first := mustSave(t, ctx, a, key, "one", 0)
	wantState(t, ctx, b, key, "one", first)
	second := mustSave(t, ctx, b, key, "two", first)
	wantState(t, ctx, a, key, "two", second)
	third := mustSave(t, ctx, a, key, "", second)
	wantState(t, ctx, b, key, "", third) // an empty value is one
	wantState(t, ctx, a, other, "", 0)
}

func wantConflict(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, connection.ErrConflict) || fault.Of(err) != fault.Retry || fault.DependencyOf(err) != "" {
		t.Errorf("%s: %v", what, err)
	}
}

func aSaveIsACompareAndSet(t *testing.T, ctx context.Context, rig ControlRig) {
	s, key := rig.Open(t, "a"), newKey()
	_, err := s.Save(ctx, key, []byte("x"), 7)
	wantConflict(t, "Save of a revision that never was", err)
	first := mustSave(t, ctx, s, key, "one", 0)
	_, err = s.Save(ctx, key, []byte("x"), 0)
	wantConflict(t, "Save of a first value over one", err)
	second := mustSave(t, ctx, s, key, "two", first)
	_, err = s.Save(ctx, key, []byte("x"), first)
	wantConflict(t, "Save over an old revision", err)
	wantState(t, ctx, s, key, "two", second)
}

func aDeletedKeyIsAsNone(t *testing.T, ctx context.Context, rig ControlRig) {
	s, key := rig.Open(t, "a"), newKey()
	first := mustSave(t, ctx, s, key, "one", 0)
	rig.Delete(t, key)
	wantState(t, ctx, s, key, "", 0)
	_, err := s.Save(ctx, key, []byte("x"), first)
	wantConflict(t, "Save over what was deleted", err)
	second := mustSave(t, ctx, s, key, "two", 0)
	if second <= first {
		t.Errorf("revision %d after %d", second, first)
	}
	wantState(t, ctx, s, key, "two", second)
}

func oneOfRacingSavesWins(t *testing.T, ctx context.Context, rig ControlRig) {
	a, b, key := rig.Open(t, "a"), rig.Open(t, "b"), newKey()
	revision := uint64(0)
	for range 10 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var won []uint64
		for i := range racers {
			wg.Go(func() {
				s := []Controller{a, b}[i%2]
				next, err := s.Save(ctx, key, []byte{byte('a' + i)}, revision)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, next)
				} else {
					wantConflict(t, "a loser", err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d winners", len(won))
		}
		revision = won[0]
	}
}

// seen is what a watch was told.
type seen struct {
	mu     sync.Mutex
	values []string // "-" for none
}

func (s *seen) each(value []byte, revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := string(value)
	if (value == nil) != (revision == 0) {
		text += "?" // told two things at once
	}
	if value == nil {
		text += "-"
	}
	s.values = append(s.values, text)
}

func (s *seen) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.values, " ")
}

// watchKey watches until the function it returns is called.
func watchKey(t *testing.T, ctx context.Context, s SharedStates, key string) (got *seen, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	got = &seen{}
	ended := make(chan error, 1)
	go func() { ended <- s.Watch(ctx, key, got.each) }()
	return got, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the watch broke: %v", err)
		}
	}
}

func eventually(t *testing.T, within time.Duration, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(within); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// soon is long for a message and short for a test that has to fail.
const soon = 15 * time.Second

func wantSeen(t *testing.T, got *seen, want string) {
	t.Helper()
	end := time.Now().Add(soon)
	eventually(t, 2*soon, want, func() bool { return got.all() == want || time.Now().After(end) })
	if all := got.all(); all != want {
		t.Fatalf("the watch told %q, want %q", all, want)
	}
}

func aWatchTellsOfEveryChange(t *testing.T, ctx context.Context, rig ControlRig) {
	a, b, key := rig.Open(t, "a"), rig.Open(t, "b"), newKey()
	got, stop := watchKey(t, ctx, a, key)
	defer stop()
	wantSeen(t, got, "-")
	revision := mustSave(t, ctx, b, key, "one", 0)
	wantSeen(t, got, "- one")
	mustSave(t, ctx, b, newKey(), "another's", 0)
	mustSave(t, ctx, a, key, "two", revision) // its own as well
	wantSeen(t, got, "- one two")
	rig.Delete(t, key)
	wantSeen(t, got, "- one two -")
	mustSave(t, ctx, b, key, "three", 0)
	wantSeen(t, got, "- one two - three")
}

func aWatchBeginsWithWhatIsThere(t *testing.T, ctx context.Context, rig ControlRig) {
	s, key, deleted := rig.Open(t, "a"), newKey(), newKey()
	mustSave(t, ctx, s, key, "two", mustSave(t, ctx, s, key, "one", 0))
	mustSave(t, ctx, s, deleted, "one", 0)
	rig.Delete(t, deleted)
	for key, want := range map[string]string{key: "two", deleted: "-"} {
		got, stop := watchKey(t, ctx, s, key)
		wantSeen(t, got, want)
		stop()
	}
}

func aWatchEndsWithItsContext(t *testing.T, ctx context.Context, rig ControlRig) {
	s := rig.Open(t, "a")
	got, stop := watchKey(t, ctx, s, newKey())
	wantSeen(t, got, "-")
	stop()
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Watch(gone, newKey(), func([]byte, uint64) {}); err != nil {
		t.Errorf("Watch without time: %v", err)
	}
}

func strangeKeysAreRefused(t *testing.T, ctx context.Context, rig ControlRig) {
	s := rig.Open(t, "a")
	for _, key := range []string{"", ".", ">", "breaker.>", "breaker.*", "a..b", "a.", ".a", "a b", "ü", strings.Repeat("a", 257)} {
		_, _, loadErr := s.Load(ctx, key)
		_, saveErr := s.Save(ctx, key, []byte("x"), 0)
		for what, err := range map[string]error{"Load": loadErr, "Save": saveErr, "Watch": s.Watch(ctx, key, func([]byte, uint64) {})} {
			if fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Malformed || len(key) > 2 && strings.Contains(err.Error(), key) {
				t.Errorf("%s(%q): %v", what, key, err)
			}
		}
	}
	for _, stream := range []string{"", "a.b", "*", ">", "a b"} {
		_, begunErr := s.Begun(ctx, stream, 1)
		for what, err := range map[string]error{"Begun": begunErr, "Returned": s.Returned(ctx, stream, 1)} {
			if fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Malformed {
				t.Errorf("%s(%q): %v", what, stream, err)
			}
		}
	}
}

func aStateCallerWithoutTime(t *testing.T, ctx context.Context, rig ControlRig) {
	s, key, stream := rig.Open(t, "a"), newKey(), "S"+rand.Text()
	if _, err := s.Begun(ctx, stream, 1); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, _, loadErr := s.Load(gone, key)
	_, saveErr := s.Save(gone, key, []byte("x"), 0)
	_, begunErr := s.Begun(gone, stream, 1)
	for what, err := range map[string]error{"Load": loadErr, "Save": saveErr, "Begun": begunErr, "Returned": s.Returned(gone, stream, 1)} {
		if fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.NATS {
			t.Errorf("%s: %v, verdict %v of %q", what, err, fault.Of(err), fault.DependencyOf(err))
		}
	}
}

func nobodySharesAStatesBytes(t *testing.T, ctx context.Context, rig ControlRig) {
	s, key := rig.Open(t, "a"), newKey()
	mine := []byte("mine")
	revision, err := s.Save(ctx, key, mine, 0)
	if err != nil {
		t.Fatal(err)
	}
	clear(mine)
	got, _, err := s.Load(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	wantState(t, ctx, s, key, "mine", revision)
}
