package custody_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

func TestAccessRefreshesOnlyWhenDue(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := r.established()
	for range 3 {
		if _, err := r.keeper.Access(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.sandbox.Stats().Rotations; n != 0 {
		t.Errorf("%d rotations while the access token was fresh", n)
	}
	before, _ := r.record(id)
	r.expire(id)
	grant, err := r.keeper.Access(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	after, _ := r.record(id)
	if grant.AccessToken != after.AccessToken || after.RefreshToken == before.RefreshToken || after.Rotation != 2 {
		t.Error("the rotated pair is not what is stored and handed out")
	}
	r.works(id)
}

func TestARefreshTokenMayStay(t *testing.T) {
	r := newRig(t, finxtest.Options{KeepRefreshToken: true})
	id := r.established()
	before, _ := r.record(id)
	r.expire(id)
	if _, err := r.keeper.Access(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	after, _ := r.record(id)
	if after.RefreshToken != before.RefreshToken || !after.RefreshObtainedAt.Equal(before.RefreshObtainedAt) {
		t.Error("an answer without a refresh token must leave the old one and its age alone")
	}
	r.works(id)
}

func TestOneRefreshForManyCallers(t *testing.T) {
	r := newRig(t, finxtest.Options{RevokeOnReuse: true})
	id := r.established()
	r.expire(id)
	const replicas, callers = 4, 8
	var wait sync.WaitGroup
	errs := make(chan error, replicas*callers)
	for range replicas {
		keeper := r.replica(events.NewUUID())
		for range callers {
			wait.Go(func() {
				_, err := keeper.Access(t.Context(), id)
				for errors.Is(err, errHeld) { // the consumer would bring it back later
					_, err = keeper.Access(t.Context(), id)
				}
				errs <- err
			})
		}
	}
	wait.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	stats := r.sandbox.Stats()
	if stats.Rotations != 1 || stats.RefreshesReused != 0 || stats.FamiliesRevoked != 0 {
		t.Errorf("rotations %d, reuses %d, families revoked %d; want 1, 0, 0", stats.Rotations, stats.RefreshesReused, stats.FamiliesRevoked)
	}
	r.works(id)
}

// Two holders at once is what a paused process with a lapsed lease looks like.
// Check-and-set alone must keep them from spending the token twice.
func TestCheckAndSetGuardsWithoutTheLock(t *testing.T) {
	r := newRig(t, finxtest.Options{RevokeOnReuse: true})
	r.locks.off = true
	id := r.established()
	r.expire(id)
	var wait sync.WaitGroup
	for range 8 {
		keeper := r.replica(events.NewUUID())
		wait.Go(func() {
			for {
				_, err := keeper.Access(t.Context(), id)
				if err == nil {
					return
				}
				if v := fault.Of(err); v != fault.Retry && v != fault.WaitUntil || errors.Is(err, custody.ErrRotationUnknown) {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	stats := r.sandbox.Stats()
	if stats.Rotations != 1 || stats.RefreshesReused != 0 || stats.FamiliesRevoked != 0 {
		t.Errorf("rotations %d, reuses %d, families revoked %d; want 1, 0, 0", stats.Rotations, stats.RefreshesReused, stats.FamiliesRevoked)
	}
	r.works(id)
}

func TestRefreshOutcomes(t *testing.T) {
	once := func(f finxtest.Fault) *finxtest.Fault { f.Call, f.Times = "token.refresh", 1; return &f }
	cases := []struct {
		name    string
		grace   time.Duration
		fault   *finxtest.Fault
		revoked bool
		want    error
		verdict fault.Verdict
	}{
		{name: "revoked by the user", revoked: true, want: custody.ErrRefreshRejected},
		{name: "lost before finX saw it", fault: once(finxtest.Fault{Drop: "before"})},
		{name: "lost after rotation, grace window", grace: time.Minute, fault: once(finxtest.Fault{Drop: "after"})},
		{name: "504 after rotation, grace window", grace: time.Minute, fault: once(finxtest.Fault{Status: http.StatusGatewayTimeout, When: "after"})},
		{name: "truncated after rotation, grace window", grace: time.Minute, fault: once(finxtest.Fault{Truncate: 20})},
		{name: "lost after rotation, no grace", fault: once(finxtest.Fault{Drop: "after"}), want: custody.ErrRotationUnknown},
		{name: "throttled", fault: once(finxtest.Fault{Status: http.StatusServiceUnavailable, RetryAfter: "120"}), verdict: fault.WaitUntil},
		{name: "bank hiccup before rotation", fault: once(finxtest.Fault{Status: http.StatusInternalServerError})},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, finxtest.Options{Grace: c.grace})
			id := r.established()
			r.expire(id)
			if c.revoked {
				r.sandbox.RevokeUser("u-1")
			}
			if c.fault != nil {
				r.fault(*c.fault)
			}
			_, err := r.keeper.Access(t.Context(), id)
			switch {
			case c.want != nil:
				if !errors.Is(err, c.want) {
					t.Errorf("error %v, want %v", err, c.want)
				}
			case fault.Of(err) != c.verdict:
				t.Errorf("verdict %v of %v, want %v", fault.Of(err), err, c.verdict)
			case err == nil:
				r.works(id)
			}
			if rec, _ := r.record(id); rec.RefreshToken.IsZero() {
				t.Error("the refresh token is gone from the store")
			}
		})
	}
}

func TestRenewReplacesADeadTokenOnce(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := r.established()
	dead, _ := r.record(id)
	for range 3 { // three calls that all were refused the same token
		if _, err := r.keeper.Renew(t.Context(), id, dead.AccessToken); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.sandbox.Stats().Rotations; n != 1 {
		t.Errorf("%d rotations, want 1", n)
	}
	r.works(id)
}

func TestAccessOfAConnectionWithoutTokens(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	if _, err := r.keeper.Access(t.Context(), events.NewUUID()); !errors.Is(err, custody.ErrNoTokens) {
		t.Errorf("error %v, want ErrNoTokens", err)
	}
}

func TestTokensOfAnyLengthAreKept(t *testing.T) {
	for _, size := range []int{finxtest.MinTokenBytes, 2048, finxtest.MaxTokenBytes} {
		r := newRig(t, finxtest.Options{CodeBytes: size, AccessTokenBytes: size, RefreshTokenBytes: size})
		code := r.code()
		if code.Len() != size {
			t.Fatalf("the sandbox gave a code of %d bytes, want %d", code.Len(), size)
		}
		id := events.NewUUID()
		if _, err := r.keeper.Exchange(t.Context(), id, code, redirectURI); err != nil {
			t.Fatal(err)
		}
		r.expire(id)
		if _, err := r.keeper.Access(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if rec, _ := r.record(id); rec.RefreshToken.Len() != size || rec.AccessToken == (secret.Text{}) {
			t.Errorf("a refresh token of %d bytes is stored with %d", size, rec.RefreshToken.Len())
		}
		r.works(id)
	}
}
