package custody_test

import (
	"errors"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// A callback may be delivered again after its code was refused: by a replica
// that saw nothing of it, or because the process died before it said so. The
// outcome is the same one, and finX is not asked again.
func TestARefusedCodeIsNotSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		want  error
		fault *finxtest.Fault
		calls int
	}{
		"refused":              {custody.ErrCodeRejected, nil, 1},
		"spent without answer": {custody.ErrExchangeUnknown, &finxtest.Fault{Call: "token.exchange", Times: 1, Drop: "after"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, finxtest.Options{})
			id, code := events.NewUUID(), r.code()
			if c.fault == nil {
				r.sandbox.Advance(2 * time.Hour)
			} else {
				r.fault(*c.fault)
			}
			for _, keeper := range []*custody.Keeper{r.keeper, r.keeper, r.replica("replica-2")} {
				if _, err := keeper.Exchange(t.Context(), id, code, redirectURI); !errors.Is(err, c.want) {
					t.Errorf("error %v, want %v", err, c.want)
				}
			}
			if n := r.sandbox.Stats().Total("token.exchange"); n != c.calls {
				t.Errorf("%d calls, want %d", n, c.calls)
			}
			// Another code of the same connection is not held responsible.
			if _, err := r.replica("replica-3").Exchange(t.Context(), id, r.code(), redirectURI); err != nil {
				t.Fatal(err)
			}
			r.works(id)
		})
	}
}

func TestARefusedRefreshTokenIsNotSentAgain(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := r.established()
	r.expire(id)
	r.sandbox.RevokeUser("u-1")
	for _, keeper := range []*custody.Keeper{r.keeper, r.keeper, r.replica("replica-2")} {
		if _, err := keeper.Access(t.Context(), id); !errors.Is(err, custody.ErrRefreshRejected) {
			t.Errorf("error %v, want ErrRefreshRejected", err)
		}
	}
	if n := r.sandbox.Stats().Total("token.refresh"); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
	if _, err := r.keeper.Exchange(t.Context(), id, r.code(), redirectURI); err != nil {
		t.Fatal(err)
	}
	r.works(id)
}
