package connectionkvtest

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"testing"
	"time"
)

// announce runs until the function it returns is called, or the test ends.
func announce(t *testing.T, ctx context.Context, r Replicas) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Announce(ctx)
	}()
	leave = func() { cancel(); <-done }
	t.Cleanup(leave)
	return leave
}

func wantReplicas(t *testing.T, within time.Duration, want int, all ...Controller) {
	t.Helper()
	for _, r := range all {
		eventually(t, within, "the number of replicas", func() bool { return r.Replicas() == want })
	}
}

func replicasAreCounted(t *testing.T, ctx context.Context, rig ControlRig) {
	a, b, c := rig.Open(t, "a"), rig.Open(t, "b.example"), rig.Open(t, "c")
	wantReplicas(t, soon, 1, a) // before it has said a word
	announce(t, ctx, a)
	wantReplicas(t, soon, 1, a)
	leave := announce(t, ctx, b)
	announce(t, ctx, c)
	wantReplicas(t, soon, 3, a, b, c)

	started := time.Now()
	leave()
	wantReplicas(t, soon, 2, a, c)
	if took := time.Since(started); took > rig.TTL*3/4 {
		t.Errorf("one that left counted for %s more", took)
	}
	rig.Kill("c")
	wantReplicas(t, rig.TTL+soon, 1, a)
	announce(t, ctx, b)
	wantReplicas(t, soon, 2, a, b)
}

func begunWithoutReturnIsCounted(t *testing.T, ctx context.Context, rig ControlRig) {
	a, b, stream := rig.Open(t, "a"), rig.Open(t, "b"), "TEAM-"+rand.Text()
	wantBegun := func(s Suspects, stream string, sequence uint64, want int) {
		t.Helper()
		if times, err := s.Begun(ctx, stream, sequence); times != want || err != nil {
			t.Errorf("Begun %d: %d, %v; want %d", sequence, times, err, want)
		}
	}
	wantBegun(a, stream, 7, 1)
	wantBegun(b, stream, 7, 2)
	wantBegun(a, stream, 8, 1)
	wantBegun(a, stream+"_über/2", 7, 1) // another team names its streams as it likes
	for range 2 {
		if err := b.Returned(ctx, stream, 7); err != nil {
			t.Fatal(err)
		}
	}
	wantBegun(a, stream, 7, 1)
	wantBegun(a, stream, 8, 2)
}

func racingBeginsAreAllCounted(t *testing.T, ctx context.Context, rig ControlRig) {
	stream := "S" + rand.Text()
	const replicas = 4
	times := make([]int, replicas)
	var wg sync.WaitGroup
	for i := range replicas {
		s := rig.Open(t, "r"+string(rune('0'+i)))
		wg.Go(func() {
			var err error
			if times[i], err = s.Begun(ctx, stream, 1); err != nil {
				t.Errorf("Begun: %v", err)
			}
		})
	}
	wg.Wait()
	slices.Sort(times)
	if !slices.Equal(times, []int{1, 2, 3, 4}) {
		t.Errorf("counted %v", times)
	}
}
