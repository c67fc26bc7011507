package custody_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

func escrowKeyText(fill byte) secret.Text {
	return secret.New(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, 32)))
}

// shelf is a bucket in memory with a mood.
type shelf struct {
	mu     sync.Mutex
	copies map[string][]byte
	puts   int
	fail   error
}

func (s *shelf) Put(_ context.Context, key string, sealed []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	if s.fail != nil {
		return s.fail
	}
	if s.copies == nil {
		s.copies = map[string][]byte{}
	}
	s.copies[key] = bytes.Clone(sealed)
	return nil
}

func (s *shelf) Get(_ context.Context, key string) (sealed []byte, found bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sealed, found = s.copies[key]
	return sealed, found, s.fail
}

func (s *shelf) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.copies, key)
	return s.fail
}

func (s *shelf) Keys(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.copies)), s.fail
}

func (s *shelf) mood(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *shelf) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.copies))
}

// keyed is a replica with an escrow.
func (r *rig) keyed(holder string, e *custody.Escrow) *custody.Keeper {
	r.t.Helper()
	k, err := custody.New(custody.Config{
		Secrets: r.store, Tokens: r.client, Lock: r.locks.lock, Holder: holder, Escrow: e,
		RefreshSkew: time.Minute, CallLimit: 2 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return k
}

func staticKeys(t *testing.T, keys ...secret.Text) *custody.StaticKeys {
	t.Helper()
	s, err := custody.NewStaticKeys(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// vaultFailsAfterMark lets the mark through and fails the writes after it until
// the returned function is called.
func (r *rig) vaultFailsAfterMark() (heal func()) {
	r.t.Helper()
	var mu sync.Mutex
	down := true
	r.store.hook(func(n int) error {
		mu.Lock()
		defer mu.Unlock()
		if n > 1 && down {
			return errVaultDown
		}
		return nil
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		down = false
	}
}

// abandoned has a process of its own take an answer in hand, which Vault does
// not take, and leaves it there: in escrow, with the process gone as far as
// anybody can tell. The returned heal lets Vault write again.
func (r *rig) abandoned(e *custody.Escrow, id string, bucket *shelf) (heal func()) {
	r.t.Helper()
	heal = r.vaultFailsAfterMark()
	dead := r.keyed("replica-dead", e)
	go func() { _, _ = dead.Access(context.WithoutCancel(r.t.Context()), id) }()
	r.t.Cleanup(func() {
		heal()
		if err := dead.Wait(context.WithoutCancel(r.t.Context())); err != nil {
			r.t.Error(err)
		}
	})
	natstest.Eventually(r.t, 20*time.Second, func() bool { return dead.Unstored().Escrow == 1 }, "a copy in escrow")
	if u := dead.Unstored(); u.Answers != 1 || u.Oldest <= 0 || dead.Exposed() != 0 || !dead.EscrowReady() {
		r.t.Errorf("in hand %+v, exposed %d", u, dead.Exposed())
	}
	return heal
}

func TestAnotherReplicaBringsItHome(t *testing.T) {
	r := newRig(t, finxtest.Options{RevokeOnReuse: true})
	bucket := &shelf{}
	e := &custody.Escrow{Keys: staticKeys(t, escrowKeyText(1)), Bucket: bucket}
	id := r.established()
	r.expire(id)
	before, _ := r.record(id)
	r.abandoned(e, id, bucket)
	r.store.hook(nil) // Vault is back, for everybody else first
	home, err := r.keyed("replica-2", e).BringHome(t.Context())
	if err != nil || home.Stored+home.Stale != 1 || home.Waiting != 0 {
		t.Fatalf("%+v, %v", home, err)
	}
	after, _ := r.record(id)
	if after.Rotation != before.Rotation+1 || after.RefreshToken == before.RefreshToken {
		t.Error("the answer in escrow is not what is stored")
	}
	if left := bucket.keys(); len(left) != 0 {
		t.Errorf("left in escrow: %v", left)
	}
	r.works(id)
	if s := r.sandbox.Stats(); s.RefreshesReused != 0 || s.Rotations != 1 {
		t.Errorf("reuses %d, rotations %d", s.RefreshesReused, s.Rotations)
	}
}

// A replica that is asked for a token finds the answer of the dead one before it
// spends the same refresh token again.
func TestEscrowIsAskedBeforeTheTokenIsSpentAgain(t *testing.T) {
	r := newRig(t, finxtest.Options{RevokeOnReuse: true})
	bucket := &shelf{}
	e := &custody.Escrow{Keys: staticKeys(t, escrowKeyText(1)), Bucket: bucket}
	id := r.established()
	r.expire(id)
	r.abandoned(e, id, bucket)
	r.store.hook(nil)
	r.locks.off = true // its lease has run out
	other := r.keyed("replica-2", e)
	bucket.mood(fault.Transient(fault.NATS, errors.New("no leader")))
	if _, err := other.Access(t.Context(), id); err == nil {
		rec, _ := r.record(id)
		if rec.Pending != nil {
			t.Error("with the escrow away the token was spent again, or the answer is from nowhere")
		}
	}
	bucket.mood(nil)
	if _, err := other.Access(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	r.works(id)
	if s := r.sandbox.Stats(); s.Refreshes != 1 || s.RefreshesReused != 0 {
		t.Errorf("refreshes %d, reuses %d", s.Refreshes, s.RefreshesReused)
	}
}

func TestExchangedFindsTheAnswerInEscrow(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	bucket := &shelf{}
	e := &custody.Escrow{Keys: staticKeys(t, escrowKeyText(1)), Bucket: bucket}
	id, code := events.NewUUID(), r.code()
	heal := r.vaultFailsAfterMark()
	dead := r.keyed("replica-dead", e)
	go func() { _, _ = dead.Exchange(context.WithoutCancel(t.Context()), id, code, redirectURI) }()
	natstest.Eventually(t, 20*time.Second, func() bool { return len(bucket.keys()) > 0 }, "a copy in escrow")
	r.store.hook(nil)
	grant, done, err := r.keyed("replica-2", e).Exchanged(t.Context(), id, code)
	if err != nil || !done || grant.AccessToken.IsZero() {
		t.Errorf("done %v, %v", done, err)
	}
	heal()
	if err := dead.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	r.works(id)
}

func TestSpoolHoldsEveryAnswerForAMoment(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	dir := t.TempDir()
	spool, err := custody.NewSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	watched := &watchedSpool{Spool: spool}
	bucket := &shelf{}
	k := r.keyed("replica-1", &custody.Escrow{Keys: staticKeys(t, escrowKeyText(1)), Bucket: bucket, Spool: watched})
	if _, err := k.Exchange(t.Context(), events.NewUUID(), r.code(), redirectURI); err != nil {
		t.Fatal(err)
	}
	if watched.puts != 1 || bucket.puts != 0 {
		t.Errorf("%d copies in the spool, %d in the bucket; want 1 and, with a Vault that works, none", watched.puts, bucket.puts)
	}
	if left, err := spool.Keys(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("left in the spool: %v, %v", left, err)
	}
}

type watchedSpool struct {
	*custody.Spool

	puts int
}

func (w *watchedSpool) Put(ctx context.Context, key string, sealed []byte) error {
	w.puts++
	return w.Spool.Put(ctx, key, sealed)
}

func TestACopyOpensOnlyWhereItBelongs(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	bucket := &shelf{}
	e := &custody.Escrow{Keys: staticKeys(t, escrowKeyText(1)), Bucket: bucket}
	id, other := r.established(), r.established()
	r.expire(id)
	r.abandoned(e, id, bucket)
	r.store.hook(nil)
	key := bucket.keys()[0]
	sealed, _, _ := bucket.Get(t.Context(), key)
	rec, _ := r.record(id)
	for _, token := range []secret.Text{rec.AccessToken, rec.RefreshToken} {
		if strings.Contains(string(sealed), token.Reveal()) {
			t.Error("a token in clear")
		}
	}
	foreign := &shelf{}
	stolen := strings.Replace(key, id, other, 1)
	if err := foreign.Put(t.Context(), stolen, sealed); err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]*custody.Escrow{
		"under another connection": {Keys: staticKeys(t, escrowKeyText(1)), Bucket: foreign},
		"with another key":         {Keys: staticKeys(t, escrowKeyText(2)), Bucket: bucket},
	} {
		home, err := r.keyed("replica-2", e).BringHome(t.Context())
		if err != nil || home.Unreadable != 1 || home.Stored != 0 {
			t.Errorf("%s: %+v, %v", name, home, err)
		}
	}
	// A key that was replaced goes on opening what it sealed.
	e.Keys = staticKeys(t, escrowKeyText(2), escrowKeyText(1))
	if home, err := r.keyed("replica-3", e).BringHome(t.Context()); err != nil || home.Stored != 1 {
		t.Errorf("with the old key behind the new: %+v, %v", home, err)
	}
}

// What was erased must not come back from escrow, and what a later rotation
// overtook must not be put on top of it.
func TestStaleCopiesAreDroppedNotStored(t *testing.T) {
	for name, overtake := range map[string]func(r *rig, id string){
		"erased": func(r *rig, id string) {
			if _, err := r.store.Erase(r.t.Context(), id); err != nil {
				r.t.Fatal(err)
			}
		},
		"rotated on": func(r *rig, id string) {
			rec, v := r.record(id)
			rec.Rotation, rec.Pending, rec.RefreshToken = rec.Rotation+2, nil, secret.New("newer")
			if _, err := r.store.Memory.Put(r.t.Context(), id, rec, v); err != nil {
				r.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, finxtest.Options{})
			bucket := &shelf{}
			e := &custody.Escrow{Keys: staticKeys(t, escrowKeyText(1)), Bucket: bucket}
			id := r.established()
			r.expire(id)
			r.abandoned(e, id, bucket)
			overtake(r, id)
			before, beforeErr := version(r, id)
			home, err := r.keyed("replica-2", e).BringHome(t.Context())
			if err != nil || home.Stale != 1 || home.Stored != 0 {
				t.Errorf("%+v, %v", home, err)
			}
			if after, afterErr := version(r, id); after != before || errors.Is(afterErr, vaultstore.ErrNotFound) != errors.Is(beforeErr, vaultstore.ErrNotFound) {
				t.Error("the record was written")
			}
		})
	}
}

func version(r *rig, id string) (vaultstore.Version, error) {
	_, v, err := r.store.Memory.Get(r.t.Context(), id)
	return v, err
}
