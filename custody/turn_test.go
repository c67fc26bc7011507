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
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// spendings are all ways into a call of the token endpoint.
func spendings(id string) map[string]func(ctx context.Context, k *custody.Keeper) error {
	return map[string]func(ctx context.Context, k *custody.Keeper) error{
		"exchange": func(ctx context.Context, k *custody.Keeper) error {
			_, err := k.Exchange(ctx, id, secret.New("code"), redirectURI)
			return err
		},
		"access": func(ctx context.Context, k *custody.Keeper) error {
			_, err := k.Access(ctx, id)
			return err
		},
		"renew": func(ctx context.Context, k *custody.Keeper) error {
			_, err := k.Renew(ctx, id, secret.New("A1"))
			return err
		},
		"rotate": func(ctx context.Context, k *custody.Keeper) error {
			_, err := k.Rotate(ctx, id, time.Now())
			return err
		},
		"resolve": func(ctx context.Context, k *custody.Keeper) error { return k.Resolve(ctx, id, time.Hour) },
	}
}

// Where no call may be made nothing is begun: the refusal goes up with its time.
func TestWithoutATurnNothingIsBegun(t *testing.T) {
	for name := range spendings("") {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStub(t, func(context.Context, int) (finx.Tokens, error) { return pairOf("2"), nil })
				// Resolve has nothing to do without a mark.
				s.somebody(markedBy("gone", time.Now().Add(-time.Hour)))
				before, version := s.record()
				until := time.Now().Add(7 * time.Minute)
				away := errors.New("finX is away")
				s.turn = func(_ context.Context, exchange bool) error {
					if exchange != (name == "exchange") {
						t.Errorf("asked for an exchange: %v", exchange)
					}
					return fault.Throttled(fault.FinX, until, away)
				}
				k := s.keeper("a")
				err := spendings(s.id)[name](t.Context(), k)
				if got, ok := fault.Until(err); !ok || !got.Equal(until) || fault.DependencyOf(err) != fault.FinX || !errors.Is(err, away) {
					t.Errorf("error %v, until %v", err, got)
				}
				if after, at := s.record(); at != version || *after.Pending != *before.Pending || len(s.calls) > 0 || s.locks.taken() > 0 {
					t.Errorf("version %d, mark %+v, sent %v, locks %d", at, after.Pending, s.calls, s.locks.taken())
				}
				s.turn = nil
				if err := spendings(s.id)[name](t.Context(), k); err != nil || len(s.calls) != 1 {
					t.Errorf("after the refusal: error %v, sent %v", err, s.calls)
				}
			})
		})
	}
}

// Calls that are limited may queue for minutes. Until the turn comes nothing is
// held: no lock, no mark, nothing that a drain would wait for.
func TestTheWaitForATurnHoldsNothing(t *testing.T) {
	for name := range spendings("") {
		synctest.Test(t, func(t *testing.T) {
			const queue = 20 * time.Minute
			s := newStub(t, func(context.Context, int) (finx.Tokens, error) { return pairOf("2"), nil })
			s.somebody(markedBy("gone", time.Now().Add(-time.Hour)))
			spend := spendings(s.id)[name]
			waiting := 0
			s.turn = func(ctx context.Context, _ bool) error {
				waiting++
				time.Sleep(queue)
				return ctx.Err()
			}
			k := s.keeper("a")
			_, version := s.record()
			first, leave := context.WithTimeout(t.Context(), time.Minute)
			defer leave()
			results := make(chan error, 2)
			go func() { results <- spend(first, k) }()
			go func() { results <- spend(t.Context(), k) }()
			time.Sleep(queue / 2)
			if err := <-results; !errors.Is(err, context.DeadlineExceeded) || fault.Of(err) != fault.WaitUntil || fault.DependencyOf(err) != "" {
				t.Errorf("%s: the caller whose time was over got %v", name, err)
			}
			if _, at := s.record(); at != version || s.locks.taken() > 0 || k.Exposed() > 0 {
				t.Errorf("%s: version %d, locks %d, exposed %d", name, at, s.locks.taken(), k.Exposed())
			}
			if err := k.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			if err := <-results; err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if waiting != 1 || len(s.calls) != 1 || len(s.turns) != 1 || *s.turns[0] != (turn{exchange: name == "exchange", calls: 1, released: 1}) {
				t.Errorf("%s: %d waited, %v sent, turns %+v", name, waiting, s.calls, *s.turns[0])
			}
		})
	}
}

// What others did in the meantime is found when the turn comes.
func TestATurnThatIsNotNeededIsGivenBack(t *testing.T) {
	for name, during := range map[string]func(s *stub){
		"replaced":  func(s *stub) { s.somebody(rotated) },
		"under way": func(s *stub) { s.somebody(markedBy("other", time.Now())) },
		"erased":    func(s *stub) { s.somebody(func(r *vaultstore.Record) { r.RefreshToken = secret.Text{} }) },
		"locked": func(s *stub) {
			if _, _, err := s.locks.lock(s.t.Context(), "tokens."+s.id); err != nil {
				s.t.Error(err)
			}
		},
		"no mark":  func(s *stub) { s.store.hook(func(int) error { return errVaultDown }) },
		"stopping": nil,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStub(t, func(context.Context, int) (finx.Tokens, error) { return pairOf("3"), nil })
			k := s.keeper("a")
			s.turn = func(context.Context, bool) error {
				if during == nil {
					k.Stop()
					return nil
				}
				during(s)
				return nil
			}
			grant, err := k.Access(t.Context(), s.id)
			if (err == nil) != (name == "replaced") || err == nil && grant.AccessToken.Reveal() != "A2" {
				t.Errorf("%s: error %v", name, err)
			}
			if len(s.calls) > 0 || len(s.turns) != 1 || *s.turns[0] != (turn{released: 1}) {
				t.Errorf("%s: sent %v, turns %d", name, s.calls, len(s.turns))
			}
		})
	}
}

// A call without an answer is repeated in its own turn: waiting for another one,
// with a value that may be spent, would only let the mark grow old.
func TestTheRepetitionNeedsNoTurnOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t, func(_ context.Context, n int) (finx.Tokens, error) {
			if n == 1 {
				return finx.Tokens{}, fault.Ambiguous(fault.FinX, errNoAnswer)
			}
			return pairOf("2"), nil
		})
		if _, err := s.keeper("a").Access(t.Context(), s.id); err != nil {
			t.Error(err)
		}
		if len(s.turns) != 1 || *s.turns[0] != (turn{calls: 2, released: 1}) {
			t.Errorf("%d turns, the first %+v", len(s.turns), *s.turns[0])
		}
	})
}
