package custody_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// A renewal's answer is in escrow, its mark is old; a refresh comes first.
func TestARefreshDoesNotBuryARenewalInEscrow(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	bucket := &shelf{}
	e := &custody.Escrow{Keys: staticKeys(t, escrowKeyText(1)), Bucket: bucket}
	id := r.established()
	r.expire(id)
	code2 := r.code()
	heal := r.vaultFailsAfterMark()
	dead := r.keyed("replica-dead", e)
	go func() { _, _ = dead.Exchange(context.WithoutCancel(t.Context()), id, code2, redirectURI) }()
	natstest.Eventually(t, 20*time.Second, func() bool { return len(bucket.keys()) > 0 }, "a copy in escrow")
	r.ageMark(id)
	r.locks.off = true
	r.store.mu.Lock()
	r.store.puts = -1000 // vault takes writes of the others for the moment
	r.store.mu.Unlock()
	other := r.keyed("replica-2", e)
	_, err := other.Access(t.Context(), id)
	t.Log("access:", err, "refreshes of the OLD family:", r.sandbox.Stats().Refreshes)
	home, err := other.BringHome(t.Context())
	t.Logf("home %+v %v; left in escrow %d", home, err, len(bucket.keys()))
	heal()
	_ = dead.Wait(t.Context())
	rec, _ := r.record(id)
	if rec.CodeSHA256 != code2.SHA256() {
		t.Error("LOST: the tokens of the renewal are stored nowhere")
	}
	_, err = other.Exchange(t.Context(), id, code2, redirectURI)
	t.Log("redelivered callback:", err, "codes reused:", r.sandbox.Stats().CodesReused, "families revoked", r.sandbox.Stats().FamiliesRevoked)
}

// A code whose outcome is open, and a refresh of the tokens of before in between.
func TestARefreshDoesNotForgetAnOpenExchange(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := r.established()
	r.expire(id)
	code2 := r.code()
	if _, err := r.client.ExchangeCode(t.Context(), code2, redirectURI); err != nil { // the dead process
		t.Fatal(err)
	}
	r.openMark(id, "exchange", code2.SHA256(), time.Hour)
	never, err := custody.New(custody.Config{
		Secrets: r.store, Tokens: r.client, Lock: r.locks.lock, Holder: "replica-2", Replay: custody.ReplayNever,
		RefreshSkew: time.Minute, CallLimit: 2 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := never.Access(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	_, err = never.Exchange(t.Context(), id, code2, redirectURI)
	if !errors.Is(err, custody.ErrExchangeUnknown) {
		t.Errorf("told %v, want exchange unknown", err)
	}
	if n := r.sandbox.Stats().CodesReused; n != 0 {
		t.Errorf("with Replay=never the code was sent again %d times", n)
	}
}

// A copy that no key opens, of another value, keeps its claim and holds up nobody.
func TestAForeignCopyWithoutItsKeyHoldsUpNobody(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	bucket := &shelf{}
	id, code2 := r.established(), r.code()
	r.expire(id)
	heal := r.vaultFailsAfterMark()
	dead := r.keyed("replica-dead", &custody.Escrow{Keys: staticKeys(t, escrowKeyText(1)), Bucket: bucket})
	go func() { _, _ = dead.Exchange(context.WithoutCancel(t.Context()), id, code2, redirectURI) }()
	natstest.Eventually(t, 20*time.Second, func() bool { return dead.Unstored().Escrow == 1 }, "a copy in escrow")
	r.ageMark(id)
	r.locks.off = true
	r.store.mu.Lock()
	r.store.puts = -1000 // Vault takes the writes of the others
	r.store.mu.Unlock()
	keyless := r.keyed("replica-2", &custody.Escrow{Keys: staticKeys(t, escrowKeyText(2)), Bucket: bucket})
	if _, err := keyless.Access(t.Context(), id); err != nil {
		t.Errorf("a refresh beside it: %v", err)
	}
	if home, err := keyless.BringHome(t.Context()); err != nil || home.Unreadable != 1 || len(bucket.keys()) != 1 {
		t.Errorf("%+v, %v, %d copies", home, err, len(bucket.keys()))
	}
	heal()
	if err := dead.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if rec, _ := r.record(id); rec.CodeSHA256 != code2.SHA256() {
		t.Error("the tokens of the renewal are not what is stored in the end")
	}
}
