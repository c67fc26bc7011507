package custody_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// Somebody else stores the fruit of the same token while a call of this process
// gets no answer, or a refusal: it is adopted, and nothing is sent once more.
func TestAnotherReplicasTokensAreAdopted(t *testing.T) {
	for name, failure := range map[string]error{
		"no answer": fault.Ambiguous(fault.FinX, errNoAnswer),
		"refused":   fault.Permanent(fault.Rejected, finx.ErrInvalidGrant),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s *stub
				s = newStub(t, func(context.Context, int) (finx.Tokens, error) {
					s.somebody(rotated)
					return finx.Tokens{}, failure
				})
				grant, err := s.keeper("a").Access(t.Context(), s.id)
				if err != nil || grant.AccessToken.Reveal() != "A2" {
					t.Errorf("error %v; the tokens of the other replica are in force", err)
				}
				if rec, _ := s.record(); len(s.calls) != 1 || rec.Pending != nil || rec.RefreshToken.Reveal() != "R2" {
					t.Errorf("%d calls, mark %+v", len(s.calls), rec.Pending)
				}
			})
		})
	}
}

// A refusal beside the call of another replica says nothing: that one may just be
// getting the answer.
func TestARefusalBesideAnotherCallIsNoOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *stub
		s = newStub(t, func(context.Context, int) (finx.Tokens, error) {
			s.somebody(markedBy("b", time.Now()))
			return finx.Tokens{}, fault.Permanent(fault.Rejected, finx.ErrInvalidGrant)
		})
		_, err := s.keeper("a").Access(t.Context(), s.id)
		if fault.Of(err) != fault.WaitUntil || errors.Is(err, custody.ErrRefreshRejected) {
			t.Errorf("error %v, want to wait for the other call", err)
		}
		if rec, _ := s.record(); rec.Pending == nil || rec.Pending.Holder != "b" || rec.Pending.Outcome != "" {
			t.Errorf("the mark of the other replica is now %+v", rec.Pending)
		}
	})
}

// Whoever loses the write of the mark comes again, and calls nobody.
func TestALostRaceForTheMarkIsAnotherTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t, func(context.Context, int) (finx.Tokens, error) { return pairOf("3"), nil })
		s.store.hook(func(n int) error {
			if n == 1 {
				s.somebody(rotated)
			}
			return nil
		})
		k := s.keeper("a")
		_, err := k.Access(t.Context(), s.id)
		if until, ok := fault.Until(err); !ok || time.Until(until) > 5*time.Second || len(s.calls) != 0 {
			t.Fatalf("error %v, %d calls; want another try soon and no call", err, len(s.calls))
		}
		if grant, err := k.Access(t.Context(), s.id); err != nil || grant.AccessToken.Reveal() != "A2" {
			t.Errorf("error %v", err)
		}
	})
}

// The mark of an attempt whose answer was lost outlives a later attempt that is
// known to have spent nothing.
func TestAMarkThatMayBeSpentStaysOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t, func(_ context.Context, n int) (finx.Tokens, error) {
			if n == 1 {
				return finx.Tokens{}, fault.Throttled(fault.FinX, time.Now().Add(time.Minute), errors.New("busy"))
			}
			return finx.Tokens{}, fault.Permanent(fault.Rejected, finx.ErrInvalidGrant)
		})
		s.somebody(markedBy("gone", time.Now().Add(-time.Hour)))
		k := s.keeper("a")
		if _, err := k.Access(t.Context(), s.id); fault.Of(err) != fault.WaitUntil {
			t.Fatal(err)
		}
		if _, err := k.Access(t.Context(), s.id); !errors.Is(err, custody.ErrRotationUnknown) {
			t.Errorf("error %v, want the outcome unknown: a process died with the answer", err)
		}
	})
}

// An answer that meets a conflict goes on top of what is there now, unless that
// is newer.
func TestAConflictOfTheAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		other        func(r *vaultstore.Record)
		token, scope string
	}{
		"with a change of something else": {other: func(r *vaultstore.Record) { r.Scope = "changed" }, token: "R3", scope: "changed"},
		"with the same fruit":             {other: func(r *vaultstore.Record) { rotated(r); r.Scope = "changed" }, token: "R2", scope: "changed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStub(t, func(context.Context, int) (finx.Tokens, error) { return pairOf("3"), nil })
				s.store.hook(func(n int) error {
					if n == 2 { // the answer is in hand
						time.Sleep(time.Second) // on the clock of the bubble: the other answer is later
						s.somebody(c.other)
					}
					return nil
				})
				if _, err := s.keeper("a").Access(t.Context(), s.id); err != nil {
					t.Fatal(err)
				}
				rec, _ := s.record()
				if rec.RefreshToken.Reveal() != c.token || rec.Scope != c.scope || rec.Pending != nil {
					t.Errorf("stored: %s, scope %q, mark %+v; want %s, %q", rec.RefreshToken.Reveal(), rec.Scope, rec.Pending, c.token, c.scope)
				}
			})
		})
	}
}
