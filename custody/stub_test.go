package custody_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

var errNoAnswer = errors.New("no answer")

// stub is a keeper whose token endpoint is a function, for moments that no
// server can be made to show; without any I/O, so that it runs on a fake clock.
type stub struct {
	t     *testing.T
	store *moodyStore
	locks *locks
	id    string
	calls []string // the values that were sent, in order
	// answer is what the endpoint does at its n-th call, from 1.
	answer func(ctx context.Context, n int) (finx.Tokens, error)
	escrow *custody.Escrow // nil: none
	// turn is what has to be waited for before a call; nil: nothing.
	turn  func(ctx context.Context, exchange bool) error
	turns []*turn
}

// turn is one leave to call the endpoint.
type turn struct {
	exchange bool
	calls    int
	released int
}

type turnKey struct{}

// newStub has a connection whose access token has run out and whose refresh
// token is "R1".
func newStub(t *testing.T, answer func(ctx context.Context, n int) (finx.Tokens, error)) *stub {
	t.Helper()
	s := &stub{t: t, store: &moodyStore{Memory: vaultstoretest.NewMemory()}, locks: &locks{}, id: events.NewUUID(), answer: answer}
	s.begin()
	return s
}

func (s *stub) begin() {
	s.t.Helper()
	s.write(0, func(r *vaultstore.Record) {
		*r = vaultstore.Record{
			AccessToken: secret.New("A1"), RefreshToken: secret.New("R1"), Scope: "first", Rotation: 1,
			AccessExpiresAt: time.Now().Add(-time.Minute), RefreshObtainedAt: time.Now().Add(-time.Hour),
		}
	})
}

// keeper is a replica of that name.
func (s *stub) keeper(holder string) *custody.Keeper {
	s.t.Helper()
	k, err := custody.New(custody.Config{
		Secrets: s.store, Tokens: s, Lock: s.locks.lock, Holder: holder, Escrow: s.escrow,
		CallLimit: 10 * time.Second, RefreshSkew: time.Minute, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return k
}

// ExchangeCode is finx.Client's.
func (s *stub) ExchangeCode(ctx context.Context, code secret.Text, _ string) (finx.Tokens, error) {
	return s.Refresh(ctx, code)
}

// AdmitToken is finx.Client's.
func (s *stub) AdmitToken(ctx context.Context, exchange bool) (context.Context, func(), error) {
	if s.turn != nil {
		if err := s.turn(ctx, exchange); err != nil {
			return nil, nil, err
		}
	}
	one := &turn{exchange: exchange}
	s.turns = append(s.turns, one)
	return context.WithValue(ctx, turnKey{}, one), func() { one.released++ }, nil
}

// Refresh is finx.Client's.
func (s *stub) Refresh(ctx context.Context, token secret.Text) (finx.Tokens, error) {
	one, ok := ctx.Value(turnKey{}).(*turn)
	if !ok || one.released > 0 {
		s.t.Errorf("a call without a turn")
	} else {
		one.calls++
	}
	s.calls = append(s.calls, token.Reveal())
	return s.answer(ctx, len(s.calls))
}

// pairOf is an answer of the endpoint.
func pairOf(n string) finx.Tokens {
	return finx.Tokens{AccessToken: secret.New("A" + n), RefreshToken: secret.New("R" + n), ExpiresIn: time.Hour, ReceivedAt: time.Now()}
}

// write is what somebody else does to the record.
func (s *stub) write(version vaultstore.Version, change func(r *vaultstore.Record)) {
	s.t.Helper()
	rec := vaultstore.Record{}
	if version != 0 {
		rec, version = s.record()
	}
	change(&rec)
	if _, err := s.store.Memory.Put(s.t.Context(), s.id, rec, version); err != nil {
		s.t.Error(err)
	}
}

func (s *stub) somebody(change func(r *vaultstore.Record)) { s.t.Helper(); s.write(1, change) }

func (s *stub) record() (vaultstore.Record, vaultstore.Version) {
	s.t.Helper()
	rec, version, err := s.store.Memory.Get(s.t.Context(), s.id)
	if err != nil {
		s.t.Error(err)
	}
	return rec, version
}

// rotated is a write of somebody who was faster.
func rotated(r *vaultstore.Record) {
	r.AccessToken, r.RefreshToken, r.Pending = secret.New("A2"), secret.New("R2"), nil
	r.AccessExpiresAt, r.RefreshObtainedAt = time.Now().Add(time.Hour), time.Now()
	r.Rotation++
}

// markedBy is the mark of another process that spends R1.
func markedBy(holder string, at time.Time) func(r *vaultstore.Record) {
	return func(r *vaultstore.Record) {
		r.Pending = &vaultstore.Pending{Kind: "refresh", Holder: holder, StartedAt: at.UTC(), Attempt: 1, SHA256: secret.New("R1").SHA256()}
	}
}
