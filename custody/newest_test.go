package custody_test

import (
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// Regression tests of what TestNoInterleavingLosesAToken found.

func refused() error  { return fault.Permanent(fault.Rejected, finx.ErrInvalidGrant) }
func noAnswer() error { return fault.Ambiguous(fault.FinX, errNoAnswer) }

// copyOf is what a process that got that answer, and no more writes through to
// Vault, leaves in escrow.
func (s *stub) copyOf(do func(k *custody.Keeper) error, answer finx.Tokens) map[string][]byte {
	s.t.Helper()
	gone := newStub(s.t, func(context.Context, int) (finx.Tokens, error) { return answer, nil })
	gone.id = s.id
	gone.begin()
	bucket := &shelf{}
	gone.escrow = &custody.Escrow{Keys: s.escrow.Keys, Bucket: bucket}
	gone.store.hook(func(n int) error {
		if n > 1 {
			return errVaultDown
		}
		return nil
	})
	done := make(chan error, 1)
	go func() { done <- do(gone.keeper("gone")) }()
	time.Sleep(5 * time.Second) // on the clock of the bubble: a copy is made after a second
	bucket.mu.Lock()
	copies := maps.Clone(bucket.copies)
	bucket.mu.Unlock()
	gone.store.hook(nil)
	if err := <-done; err != nil || len(copies) != 1 {
		s.t.Fatalf("error %v, %d copies", err, len(copies))
	}
	return copies
}

// newEscrowed is newStub with an empty bucket.
func newEscrowed(t *testing.T, answer func(ctx context.Context, n int) (finx.Tokens, error)) (*stub, *shelf) {
	t.Helper()
	bucket := &shelf{copies: map[string][]byte{}}
	s := newStub(t, answer)
	s.escrow = &custody.Escrow{Keys: staticKeys(t, escrowKeyText(1)), Bucket: bucket}
	return s, bucket
}

func (s *stub) access(k *custody.Keeper) error {
	_, err := k.Access(s.t.Context(), s.id)
	return err
}

// The mark of a code that was refused must not hide that a rotation is open, or
// that its outcome is unknown: the user did not take anything back.
func TestACodeDoesNotEndWhatIsKnownOfTheToken(t *testing.T) {
	for name, settledBefore := range map[string]bool{"open": false, "settled": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStub(t, func(context.Context, int) (finx.Tokens, error) { return finx.Tokens{}, refused() })
				s.somebody(markedBy("gone", time.Now().Add(-time.Hour)))
				k := s.keeper("a")
				if settledBefore {
					if err := s.access(k); !errors.Is(err, custody.ErrRotationUnknown) {
						t.Fatal(err)
					}
				}
				if _, err := k.Exchange(t.Context(), s.id, secret.New("code"), redirectURI); !errors.Is(err, custody.ErrCodeRejected) {
					t.Fatal(err)
				}
				if err := s.access(k); !errors.Is(err, custody.ErrRotationUnknown) {
					t.Errorf("error %v, want the outcome of the rotation unknown", err)
				}
				if len(s.calls) != 2 {
					t.Errorf("sent: %v, want the token and the code once each", s.calls)
				}
			})
		})
	}
}

func TestARotationDoesNotEndWhatIsKnownOfACode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t, func(_ context.Context, n int) (finx.Tokens, error) {
			switch n {
			case 1, 2:
				return finx.Tokens{}, noAnswer()
			case 3:
				return pairOf("2"), nil
			}
			return finx.Tokens{}, refused()
		})
		k := s.keeper("a")
		if _, err := k.Exchange(t.Context(), s.id, secret.New("code"), redirectURI); !fault.IsAmbiguous(err) {
			t.Fatal(err)
		}
		if err := s.access(k); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Exchange(t.Context(), s.id, secret.New("code"), redirectURI); !errors.Is(err, custody.ErrExchangeUnknown) {
			t.Errorf("error %v, want the outcome of the exchange unknown", err)
		}
	})
}

// A process that stood still reads its answer late. That makes it no newer than
// the one another process got meanwhile to the same token.
func TestAnAnswerReadLateIsNotANewAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *stub
		s = newStub(t, func(context.Context, int) (finx.Tokens, error) {
			time.Sleep(time.Minute) // on the clock of the bubble: a process that stands still
			s.somebody(rotated)
			time.Sleep(time.Minute) // as above
			return pairOf("3"), nil
		})
		if err := s.access(s.keeper("a")); err != nil {
			t.Fatal(err)
		}
		if rec, _ := s.record(); rec.RefreshToken.Reveal() != "R2" {
			t.Errorf("stored: %s; the host may have withdrawn it when it gave R2", rec.RefreshToken.Reveal())
		}
	})
}

// The answer of another process may get into escrow at any moment, so escrow is
// asked before each repetition and before an outcome is called unknown.
func TestEscrowIsAskedBeforeARepetition(t *testing.T) {
	for name, c := range map[string]struct {
		first  error // what the first call ends with, while the copy arrives
		marked bool  // a process died before
	}{
		"after no answer": {first: noAnswer()},
		"after a refusal": {first: refused(), marked: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var copies map[string][]byte
				var bucket *shelf
				s, bucket := newEscrowed(t, func(context.Context, int) (finx.Tokens, error) {
					maps.Copy(bucket.copies, copies)
					return finx.Tokens{}, c.first
				})
				copies = s.copyOf(s.access, pairOf("2"))
				if c.marked {
					s.somebody(markedBy("gone", time.Now().Add(-time.Hour)))
				}
				if err := s.access(s.keeper("a")); err != nil {
					t.Error(err)
				}
				if rec, _ := s.record(); rec.RefreshToken.Reveal() != "R2" || len(s.calls) != 1 {
					t.Errorf("stored: %s, %d calls; want R2 and one call", rec.RefreshToken.Reveal(), len(s.calls))
				}
			})
		})
	}
}

// A process asks escrow also where the open mark is its own.
func TestEscrowIsAskedForAMarkOfOnesOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, bucket := newEscrowed(t, func(context.Context, int) (finx.Tokens, error) { return finx.Tokens{}, noAnswer() })
		k := s.keeper("a")
		if err := s.access(k); !fault.IsAmbiguous(err) {
			t.Fatal(err)
		}
		maps.Copy(bucket.copies, s.copyOf(s.access, pairOf("2")))
		if err := s.access(k); err != nil || len(s.calls) != 2 {
			t.Errorf("error %v, %d calls; want the answer from escrow and no third call", err, len(s.calls))
		}
	})
}

// The tokens of a renewal count for more than a rotation of what it renews,
// whichever came last.
func TestARenewalInEscrowIsNotStaleAfterARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, bucket := newEscrowed(t, nil)
		code := secret.New("code")
		bucket.copies = s.copyOf(func(k *custody.Keeper) error {
			_, err := k.Exchange(t.Context(), s.id, code, redirectURI)
			return err
		}, pairOf("9"))
		s.somebody(rotated)
		home, err := s.keeper("a").BringHome(t.Context())
		if rec, _ := s.record(); err != nil || home.Stored != 1 || rec.RefreshToken.Reveal() != "R9" || rec.CodeSHA256 != code.SHA256() {
			t.Errorf("error %v, %+v, stored: %s; want the tokens of the code", err, home, rec.RefreshToken.Reveal())
		}
	})
}

func TestARotationInEscrowIsStaleAfterARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, bucket := newEscrowed(t, nil)
		late := pairOf("2")
		late.ReceivedAt = late.ReceivedAt.Add(time.Second)
		bucket.copies = s.copyOf(s.access, late)
		s.somebody(func(r *vaultstore.Record) {
			rotated(r)
			r.RefreshToken, r.CodeSHA256, r.RefreshObtainedAt = secret.New("R9"), secret.New("code").SHA256(), late.ReceivedAt.Add(-time.Second)
		})
		home, err := s.keeper("a").BringHome(t.Context())
		if rec, _ := s.record(); err != nil || home.Stale != 1 || rec.RefreshToken.Reveal() != "R9" {
			t.Errorf("error %v, %+v, stored: %s; want the tokens of the renewal", err, home, rec.RefreshToken.Reveal())
		}
	})
}

// The answer to another value, found while a code has no answer, is brought home
// and is no success of the code.
func TestAnAnswerToAnotherValueIsNoSuccess(t *testing.T) {
	for name, first := range map[string]error{"after no answer": noAnswer(), "after a refusal": refused()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var copies map[string][]byte
				var bucket *shelf
				s, bucket := newEscrowed(t, func(_ context.Context, n int) (finx.Tokens, error) {
					if n == 1 {
						maps.Copy(bucket.copies, copies)
						return finx.Tokens{}, first
					}
					return pairOf("9"), nil
				})
				copies = s.copyOf(s.access, pairOf("2"))
				code := secret.New("code")
				s.somebody(func(r *vaultstore.Record) {
					markedBy("gone", time.Now().Add(-time.Hour))(r)
					r.Earlier = []vaultstore.Pending{{
						Kind: "exchange", Holder: "gone", StartedAt: time.Now().Add(-2 * time.Hour).UTC(), Attempt: 1, SHA256: code.SHA256(),
					}}
				})
				k := s.keeper("a")
				if _, err := k.Exchange(t.Context(), s.id, code, redirectURI); fault.Of(err) != fault.WaitUntil {
					t.Errorf("error %v, want another look", err)
				}
				if rec, _ := s.record(); rec.RefreshToken.Reveal() != "R2" {
					t.Errorf("stored: %s, want what was in escrow", rec.RefreshToken.Reveal())
				}
				if _, err := k.Exchange(t.Context(), s.id, code, redirectURI); err != nil {
					t.Error(err)
				}
				if rec, _ := s.record(); rec.RefreshToken.Reveal() != "R9" || rec.CodeSHA256 != code.SHA256() {
					t.Errorf("stored: %s, want the tokens of the code", rec.RefreshToken.Reveal())
				}
			})
		})
	}
}

// That a mark has the very time of one that this process wrote in vain does not
// make it this process's.
func TestOnlyAMarkOfOnesOwnCanBeWithoutACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t, func(context.Context, int) (finx.Tokens, error) { return finx.Tokens{}, refused() })
		s.store.hook(func(n int) error {
			if n == 1 {
				s.somebody(markedBy("gone", time.Now())) // a conflict for this process, at the same moment
			}
			return nil
		})
		k := s.keeper("a")
		if err := s.access(k); fault.Of(err) != fault.WaitUntil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // on the clock of the bubble
		if err := s.access(k); !errors.Is(err, custody.ErrRotationUnknown) {
			t.Errorf("error %v, want the outcome unknown: another process died with its call", err)
		}
	})
}
