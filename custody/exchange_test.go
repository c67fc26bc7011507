package custody_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

func TestExchangeStoresTokensAndSpendsTheCodeOnce(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id, code := events.NewUUID(), r.code()
	for range 5 {
		grant, err := r.keeper.Exchange(t.Context(), id, code, redirectURI)
		if err != nil {
			t.Fatal(err)
		}
		if grant.AccessToken.IsZero() || grant.Scope == "" || grant.RefreshObtainedAt.IsZero() {
			t.Errorf("the grant is not whole: %+v", grant)
		}
	}
	r.works(id)
	rec, _ := r.record(id)
	if rec.CodeSHA256 != code.SHA256() || rec.Rotation != 1 || rec.RefreshToken.IsZero() {
		t.Errorf("stored: rotation %d, code hash kept %v", rec.Rotation, rec.CodeSHA256 == code.SHA256())
	}
	if n := r.sandbox.Stats().Total("token.exchange"); n != 1 {
		t.Errorf("%d calls to the token endpoint, want 1", n)
	}
}

func TestExchangeOutcomes(t *testing.T) {
	once := func(f finxtest.Fault) *finxtest.Fault { f.Call, f.Times = "token.exchange", 1; return &f }
	always := func(f finxtest.Fault) *finxtest.Fault { f.Call = "token.exchange"; return &f }
	cases := []struct {
		name    string
		fault   *finxtest.Fault
		late    bool // the code has expired
		want    error
		verdict fault.Verdict
		calls   int
		open    bool // the journal stays open
	}{
		{name: "expired code", late: true, want: custody.ErrCodeRejected, verdict: fault.Retry, calls: 1},
		{name: "answer lost before finX saw the call", fault: once(finxtest.Fault{Drop: "before"}), calls: 2},
		{name: "answer lost after finX spent the code", fault: once(finxtest.Fault{Drop: "after"}), want: custody.ErrExchangeUnknown, verdict: fault.Retry, calls: 2},
		{name: "504 after finX spent the code", fault: once(finxtest.Fault{Status: http.StatusGatewayTimeout, When: "after"}), want: custody.ErrExchangeUnknown, verdict: fault.Retry, calls: 2},
		{name: "truncated answer", fault: once(finxtest.Fault{Truncate: 10}), want: custody.ErrExchangeUnknown, verdict: fault.Retry, calls: 2},
		{name: "no answer twice", fault: always(finxtest.Fault{Drop: "before"}), verdict: fault.Retry, calls: 2, open: true},
		{name: "throttled", fault: once(finxtest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "7"}), verdict: fault.WaitUntil, calls: 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, finxtest.Options{})
			id, code := events.NewUUID(), r.code()
			if c.late {
				r.sandbox.Advance(2 * time.Hour)
			}
			if c.fault != nil {
				r.fault(*c.fault)
			}
			_, err := r.keeper.Exchange(t.Context(), id, code, redirectURI)
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if c.want == nil && fault.Of(err) != c.verdict {
				t.Errorf("verdict %v of %v, want %v", fault.Of(err), err, c.verdict)
			}
			if n := r.sandbox.Stats().Total("token.exchange"); n != c.calls {
				t.Errorf("%d calls, want %d", n, c.calls)
			}
			rec, _ := r.record(id)
			if open := rec.Pending != nil && rec.Pending.Outcome == ""; open != c.open {
				t.Errorf("journal open %v, want %v", open, c.open)
			}
			if err == nil {
				r.works(id)
			}
		})
	}
}

func TestExchangeAfterACrashBetweenMarkAndCall(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id, code := events.NewUUID(), r.code()
	r.fault(finxtest.Fault{Call: "token.exchange", Drop: "before"})
	if _, err := r.keeper.Exchange(t.Context(), id, code, redirectURI); !fault.IsAmbiguous(err) {
		t.Fatalf("error %v, want an ambiguous one", err)
	}
	r.sandbox.ClearFaults()
	calls := r.sandbox.Stats().Total("token.exchange")
	if _, err := r.replica("replica-2").Exchange(t.Context(), id, code, redirectURI); fault.Of(err) != fault.WaitUntil {
		t.Fatalf("error %v; a young mark of another process means a call that may be under way", err)
	}
	if n := r.sandbox.Stats().Total("token.exchange"); n != calls {
		t.Fatal("a code was sent beside a call that may be under way")
	}
	r.ageMark(id)
	if _, err := r.replica("replica-2").Exchange(t.Context(), id, code, redirectURI); err != nil {
		t.Fatalf("the next replica finds the old mark and tries once more: %v", err)
	}
	r.works(id)
}

func TestExchangeWithoutAVaultThatTakesWritesCallsNobody(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id, code := events.NewUUID(), r.code()
	r.store.hook(func(int) error { return errVaultDown })
	_, err := r.keeper.Exchange(t.Context(), id, code, redirectURI)
	if !errors.Is(err, errVaultDown) || fault.DependencyOf(err) != fault.Vault {
		t.Errorf("error %v, want Vault's", err)
	}
	if n := r.sandbox.Stats().Total("token.exchange"); n != 0 {
		t.Errorf("%d calls were made that could not have been stored", n)
	}
	r.store.hook(nil)
	if _, err := r.keeper.Exchange(t.Context(), id, code, redirectURI); err != nil {
		t.Errorf("the code was not spent and must still work: %v", err)
	}
}

func TestTokensInHandAreStoredHoweverLongVaultRefuses(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id, code := events.NewUUID(), r.code()
	const refusals = 4
	var unstored int
	r.store.hook(func(n int) error {
		unstored = max(unstored, r.keeper.Unstored().Answers)
		if n > 1 && n <= 1+refusals { // the mark goes through, the tokens do not
			return errVaultDown
		}
		return nil
	})
	if _, err := r.keeper.Exchange(t.Context(), id, code, redirectURI); err != nil {
		t.Fatal(err)
	}
	r.works(id)
	if now := r.keeper.Unstored().Answers; unstored != 1 || now != 0 {
		t.Errorf("unstored was %d at most and is %d, want 1 and 0", unstored, now)
	}
	if err := r.keeper.Wait(t.Context()); err != nil {
		t.Errorf("nothing is left to wait for: %v", err)
	}
}

func TestAWriteOfSomebodyElseDoesNotCostTheTokens(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id, code := events.NewUUID(), r.code()
	r.store.hook(func(n int) error {
		if n == 2 { // just before the tokens are stored, the record moves under us
			rec, v := r.record(id)
			if _, err := r.store.Memory.Put(t.Context(), id, rec, v); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	if _, err := r.keeper.Exchange(t.Context(), id, code, redirectURI); err != nil {
		t.Fatal(err)
	}
	r.works(id)
}

func TestARenewalReplacesTheTokens(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := r.established()
	before, _ := r.record(id)
	if _, err := r.keeper.Exchange(t.Context(), id, r.code(), redirectURI); err != nil {
		t.Fatal(err)
	}
	after, _ := r.record(id)
	if after.RefreshToken == before.RefreshToken || after.Rotation != before.Rotation+1 {
		t.Error("the second code's tokens are not in force")
	}
	r.works(id)
}

func TestErrorsNeverCarryTheCode(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	code := secret.New("canary-code-0123456789-0123456789")
	_, err := r.keeper.Exchange(t.Context(), events.NewUUID(), code, redirectURI)
	if !errors.Is(err, custody.ErrCodeRejected) {
		t.Fatalf("error %v", err)
	}
	if text := err.Error(); contains(text, code.Reveal()) || contains(text, "sandbox-secret") {
		t.Errorf("a secret in %q", text)
	}
}
