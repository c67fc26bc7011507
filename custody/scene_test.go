package custody_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

// endpoint is a scripted token endpoint.
type endpoint struct {
	mu    sync.Mutex
	calls int
	do    func(n int) (finx.Tokens, error)
}

func (e *endpoint) next() (finx.Tokens, error) {
	e.mu.Lock()
	e.calls++
	n := e.calls
	e.mu.Unlock()
	return e.do(n)
}

func (e *endpoint) ExchangeCode(context.Context, secret.Text, string) (finx.Tokens, error) {
	return e.next()
}
func (e *endpoint) Refresh(context.Context, secret.Text) (finx.Tokens, error) { return e.next() }
func (e *endpoint) AdmitToken(ctx context.Context, _ bool) (context.Context, func(), error) {
	return ctx, func() {}, nil
}

func pair(name string) finx.Tokens {
	return finx.Tokens{AccessToken: secret.New("a-" + name), RefreshToken: secret.New("r-" + name), ExpiresIn: time.Hour, ReceivedAt: time.Now()}
}

type scene struct {
	store *moodyStore
	locks *locks
	end   *endpoint
	id    string
}

func newScene(t *testing.T, do func(n int) (finx.Tokens, error)) *scene {
	s := &scene{store: &moodyStore{Memory: vaultstoretest.NewMemory()}, locks: &locks{off: true}, end: &endpoint{do: do}, id: events.NewUUID()}
	_, err := s.store.Memory.Put(t.Context(), s.id, vaultstore.Record{
		AccessToken: secret.New("a-0"), RefreshToken: secret.New("r-0"), AccessExpiresAt: time.Now().Add(-time.Minute),
		RefreshObtainedAt: time.Now().Add(-time.Hour), Rotation: 5, CodeSHA256: "x",
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scene) keeper(t *testing.T, holder string, c custody.Config) *custody.Keeper {
	c.Secrets, c.Tokens, c.Lock, c.Holder = s.store, s.end, s.locks.lock, holder
	c.RefreshSkew, c.CallLimit, c.Logger = time.Minute, 2*time.Second, slog.New(slog.DiscardHandler)
	k, err := custody.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (s *scene) age(t *testing.T) {
	rec, v, _ := s.store.Memory.Get(t.Context(), s.id)
	p := *rec.Pending
	p.StartedAt = p.StartedAt.Add(-time.Hour)
	rec.Pending = &p
	if _, err := s.store.Memory.Put(t.Context(), s.id, rec, v); err != nil {
		t.Fatal(err)
	}
}
