package custody_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// A process that was stopped between mark and call has lost its turn: by then
// another one may be making the call.
func TestACallTooLongAfterItsMarkIsNotMade(t *testing.T) {
	for wait, calls := range map[time.Duration]int{5 * time.Second: 1, 7 * time.Second: 0} {
		synctest.Test(t, func(t *testing.T) {
			s := newStub(t, func(context.Context, int) (finx.Tokens, error) { return pairOf("2"), nil })
			s.store.hook(func(n int) error {
				if n == 1 {
					time.Sleep(wait) // on the clock of the bubble: so long takes the mark
				}
				return nil
			})
			_, err := s.keeper("a").Access(t.Context(), s.id)
			if len(s.calls) != calls || (calls == 0) != (fault.Of(err) == fault.Retry) {
				t.Errorf("%s between mark and call: %d calls, error %v", wait, len(s.calls), err)
			}
		})
	}
}

// A call that never ends is ended, and counts as one that may have taken effect.
func TestACallHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t, func(ctx context.Context, _ int) (finx.Tokens, error) {
			<-ctx.Done()
			return finx.Tokens{}, fault.Ambiguous(fault.FinX, context.Cause(ctx))
		})
		begun := time.Now()
		_, err := s.keeper("a").Access(t.Context(), s.id)
		if took := time.Since(begun); !fault.IsAmbiguous(err) || took < 20*time.Second || took > 25*time.Second {
			t.Errorf("after %s: %v; want two calls of 10 s and a little more", took, err)
		}
		if rec, _ := s.record(); rec.Pending == nil || rec.Pending.Attempt != 2 {
			t.Errorf("mark %+v, want that of a second attempt", rec.Pending)
		}
	})
}

// A caller who is gone before the call was made does not end what others wait for.
func TestARefreshOutlivesItsFirstCallerFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t, func(context.Context, int) (finx.Tokens, error) { return pairOf("2"), nil })
		ctx, cancel := context.WithCancel(t.Context())
		s.store.hook(func(n int) error {
			if n == 1 {
				cancel()
				synctest.Wait()
			}
			return nil
		})
		k := s.keeper("a")
		if _, err := k.Access(ctx, s.id); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if err := k.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if rec, _ := s.record(); rec.RefreshToken.Reveal() != "R2" {
			t.Errorf("stored: %s", rec.RefreshToken.Reveal())
		}
	})
}

// A process does not spend two values of one connection at once, not even with
// two locks: it takes its own marks for over.
func TestAProcessSpendsOneValueAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *stub
		var k *custody.Keeper
		s = newStub(t, func(ctx context.Context, n int) (finx.Tokens, error) {
			if n == 1 {
				_, err := k.Exchange(ctx, s.id, secret.New("code"), redirectURI)
				if fault.Of(err) != fault.WaitUntil {
					t.Errorf("error %v, want to wait", err)
				}
			}
			return pairOf("2"), nil
		})
		s.locks.off = true
		k = s.keeper("a")
		if _, err := k.Access(t.Context(), s.id); err != nil || len(s.calls) != 1 {
			t.Errorf("error %v, sent: %v", err, s.calls)
		}
	})
}

// Tokens that no Vault takes must not keep a process from ending.
func TestTokensTooLargeForVaultAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t, func(context.Context, int) (finx.Tokens, error) {
			large := pairOf("2")
			large.RefreshToken = secret.New(strings.Repeat("x", vaultstore.DefaultMaxRecordBytes))
			return large, nil
		})
		k := s.keeper("a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := k.Access(ctx, s.id); fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Oversize {
			t.Errorf("error %v", err)
		}
		if n := k.Unstored().Answers; n != 0 {
			t.Errorf("%d answers are held for ever", n)
		}
	})
}
