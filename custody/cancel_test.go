package custody_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/streams"
)

var errShutdown = errors.New("shutting down")

// slow makes finX take effect at once and answer late.
func (r *rig) slow(call string, by time.Duration) {
	r.t.Helper()
	r.fault(finxtest.Fault{Call: call, Times: 1, When: "after", Delay: finxtest.Duration(by)})
}

// when waits until the sandbox has counted a call that took effect.
func (r *rig) when(what string, cond func(finxtest.Stats) bool) {
	r.t.Helper()
	natstest.Eventually(r.t, 5*time.Second, func() bool { return cond(r.sandbox.Stats()) }, what)
}

// A delivery that ran out of time, or a process that stops, must not cut off the
// answer to a code that finX has already spent.
func TestACancelledCallerDoesNotCostTheTokens(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id, code := events.NewUUID(), r.code()
	r.slow("token.exchange", 300*time.Millisecond)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := r.keeper.Exchange(ctx, id, code, redirectURI)
		done <- err
	}()
	r.when("the code is spent", func(s finxtest.Stats) bool { return s.CodesExchanged == 1 })
	cancel(errShutdown)
	if err := <-done; !errors.Is(err, errShutdown) {
		t.Errorf("error %v, want the cause: a drain must not be held up", err)
	}
	if err := r.keeper.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	r.works(id)
	if _, err := r.keeper.Exchange(ctx, events.NewUUID(), r.code(), redirectURI); !errors.Is(err, errShutdown) {
		t.Errorf("error %v: what has not begun must not begin after a cancellation", err)
	}
}

// A refresh outlives the delivery that asked for it; the drain waits for it.
func TestADrainWaitsForARefreshUnderWay(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := r.established()
	r.expire(id)
	r.slow("token.refresh", 300*time.Millisecond)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := r.keeper.Access(ctx, id)
		done <- err
	}()
	r.when("the token is rotated", func(s finxtest.Stats) bool { return s.Rotations == 1 })
	cancel(errShutdown)
	if err := <-done; !errors.Is(err, errShutdown) {
		t.Errorf("error %v, want the cause", err)
	}
	short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if err := r.keeper.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait returned %v while a refresh is under way", err)
	}
	if err := r.keeper.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	r.works(id)
}

// Losing the lease ends nothing that has reached finX.
func TestALostLeaseDoesNotCutOffTheCall(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := r.established()
	r.expire(id)
	lost := make(chan context.CancelCauseFunc, 1)
	keeper := r.keeperWith(func(ctx context.Context, _ string) (context.Context, func(), error) {
		held, cancel := context.WithCancelCause(ctx)
		lost <- cancel
		return held, func() { cancel(nil) }, nil
	})
	r.slow("token.refresh", 300*time.Millisecond)
	done := make(chan error, 1)
	go func() {
		_, err := keeper.Access(t.Context(), id)
		done <- err
	}()
	r.when("the token is rotated", func(s finxtest.Stats) bool { return s.Rotations == 1 })
	(<-lost)(errors.New("lease lost"))
	if err := <-done; err != nil {
		t.Errorf("error %v", err)
	}
	r.works(id)
}

func (r *rig) keeperWith(lock custody.LockFunc) *custody.Keeper {
	r.t.Helper()
	k, err := custody.New(custody.Config{
		Secrets: r.store, Tokens: r.client, Lock: lock, Holder: events.NewUUID(), CallLimit: 2 * time.Second,
		RefreshSkew: time.Minute, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return k
}

// The lease of an exchange is kept for as long as its tokens are in hand, also
// after the delivery has run out of time: nobody may take the old mark for that
// of a dead process.
func TestTheLeaseIsKeptWhileTokensAreInHand(t *testing.T) {
	r := newRig(t, finxtest.Options{RevokeOnReuse: true})
	js := natstest.JetStream(t, natstest.Start(t).URL())
	topology := streams.Plan(streams.Config{})
	changes, err := topology.Diff(t.Context(), js)
	if err == nil {
		err = topology.Apply(t.Context(), js, changes)
	}
	if err != nil {
		t.Fatal(err)
	}
	leases, err := connectionkv.New(connectionkv.Config{JS: js})
	if err != nil {
		t.Fatal(err)
	}
	locker := &connectionkv.Locker{Leases: leases, Owner: "test", TTL: 2 * time.Second, Logger: slog.New(slog.DiscardHandler)}
	a, b := r.keeperWith(locker.Lock), r.keeperWith(locker.Lock)
	id, code := events.NewUUID(), r.code()
	down := make(chan struct{})
	r.store.hook(func(n int) error {
		select {
		case <-down:
			return nil
		default:
		}
		if n > 1 {
			return errVaultDown
		}
		return nil
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := a.Exchange(ctx, id, code, redirectURI)
		done <- err
	}()
	r.when("the code is spent", func(s finxtest.Stats) bool { return s.CodesExchanged == 1 })
	cancel(errShutdown)
	outlived := time.NewTimer(3 * time.Second) // the lease's life and more
	<-outlived.C
	r.ageMark(id)
	if _, err := b.Exchange(t.Context(), id, code, redirectURI); fault.Of(err) == fault.Done || errors.Is(err, custody.ErrExchangeUnknown) {
		t.Errorf("error %v: another replica went ahead while the tokens are in hand", err)
	}
	close(down)
	if err := <-done; !errors.Is(err, errShutdown) {
		t.Error(err)
	}
	if err := a.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if s := r.sandbox.Stats(); s.CodesReused != 0 || s.FamiliesRevoked != 0 {
		t.Errorf("reused %d, revoked %d", s.CodesReused, s.FamiliesRevoked)
	}
	r.works(id)
}

// An exchange that a refresh of the former tokens overtakes is the newer grant.
func TestAnOvertakenExchangeIsStoredAllTheSame(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id, code := r.established(), r.code()
	r.store.hook(func(n int) error {
		if n == 2 {
			rec, v := r.record(id)
			rec.Rotation++
			if _, err := r.store.Memory.Put(t.Context(), id, rec, v); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	if _, err := r.keeper.Exchange(t.Context(), id, code, redirectURI); err != nil {
		t.Fatal(err)
	}
	if rec, _ := r.record(id); rec.CodeSHA256 != code.SHA256() {
		t.Error("success was reported and the code's tokens are not what is stored")
	}
	r.works(id)
}

// A mark written by a clock that is days ahead is waited for as long as any
// other, counted from when it was seen.
func TestAMarkFromTheFutureIsNotWaitedForUntilThen(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := r.established()
	r.expire(id)
	r.fault(finxtest.Fault{Call: "token.refresh", Drop: "before"})
	if _, err := r.keeper.Access(t.Context(), id); !fault.IsAmbiguous(err) {
		t.Fatal(err)
	}
	rec, v := r.record(id)
	mark := *rec.Pending
	mark.StartedAt, mark.Holder = time.Now().Add(48*time.Hour), "gone"
	rec.Pending = &mark
	if _, err := r.store.Memory.Put(t.Context(), id, rec, v); err != nil {
		t.Fatal(err)
	}
	var first time.Time
	for range 2 {
		_, err := r.keeper.Access(t.Context(), id)
		until, ok := fault.Until(err)
		if !ok || time.Until(until) > time.Minute {
			t.Fatalf("error %v, until %s", err, until)
		}
		if !first.IsZero() && !until.Equal(first) {
			t.Error("the end of the wait moves away with every look")
		}
		first = until
	}
}

// A mark that outlived its process is resolved by asking once more; what finX
// says then is the outcome of both.
func TestAPersistedMarkMakesARefusalAnUnknownOutcome(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id, code := events.NewUUID(), r.code()
	r.fault(finxtest.Fault{Call: "token.exchange", Times: 1, Drop: "after"})
	r.fault(finxtest.Fault{Call: "token.exchange", Times: 1, Drop: "before"})
	if _, err := r.keeper.Exchange(t.Context(), id, code, redirectURI); !fault.IsAmbiguous(err) {
		t.Fatalf("error %v, want none of the two answers", err)
	}
	r.ageMark(id)
	if _, err := r.replica("next").Exchange(t.Context(), id, code, redirectURI); !errors.Is(err, custody.ErrExchangeUnknown) {
		t.Errorf("error %v, want the outcome unknown", err)
	}
	id = r.established()
	r.expire(id)
	r.sandbox.ClearFaults()
	r.fault(finxtest.Fault{Call: "token.refresh", Times: 1, Drop: "after"})
	r.fault(finxtest.Fault{Call: "token.refresh", Times: 1, Drop: "before"})
	if _, err := r.keeper.Access(t.Context(), id); !fault.IsAmbiguous(err) {
		t.Fatalf("error %v, want none of the two answers", err)
	}
	r.ageMark(id)
	if _, err := r.replica("next").Access(t.Context(), id); !errors.Is(err, custody.ErrRotationUnknown) {
		t.Errorf("error %v, want the outcome unknown", err)
	}
}
