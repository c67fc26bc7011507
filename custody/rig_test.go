package custody_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

const redirectURI = "https://app.example/callback"

// rig is a keeper over the sandbox, spoken to over HTTP, and a store that can
// be made to fail.
type rig struct {
	t       *testing.T
	sandbox *finxtest.Sandbox
	client  *finx.Client
	store   *moodyStore
	locks   *locks
	keeper  *custody.Keeper
}

func newRig(t *testing.T, o finxtest.Options) *rig {
	t.Helper()
	r := &rig{t: t, store: &moodyStore{Memory: vaultstoretest.NewMemory()}, locks: &locks{}}
	var base string
	r.sandbox, base = finxtest.Start(t, o)
	var err error
	r.client, err = finx.New(finx.Config{
		BaseURL: base, ClientID: "sandbox", ClientSecret: secret.New("sandbox-secret"), RetryBudget: -1,
		Timeouts: finx.Timeouts{Token: 2 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.CloseIdle)
	r.keeper = r.replica("replica-1")
	return r
}

// replica is another process with the same store and the same locks.
func (r *rig) replica(holder string) *custody.Keeper {
	r.t.Helper()
	k, err := custody.New(custody.Config{
		Secrets: r.store, Tokens: r.client, Lock: r.locks.lock, Holder: holder,
		RefreshSkew: time.Minute, CallLimit: 2 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return k
}

// code plays a user through the widget and returns the code of the callback.
func (r *rig) code() secret.Text {
	r.t.Helper()
	link, err := r.client.CreateAccess(r.t.Context(), finx.AccessRequest{RedirectURI: redirectURI, UserID: "u-1", State: "s"})
	if err != nil {
		r.t.Fatal(err)
	}
	back, err := r.sandbox.Approve(link.Location.Reveal())
	if err != nil {
		r.t.Fatal(err)
	}
	return secret.New(back.Query().Get("code"))
}

// established is the id of a connection whose code was exchanged.
func (r *rig) established() string {
	r.t.Helper()
	id := events.NewUUID()
	if _, err := r.keeper.Exchange(r.t.Context(), id, r.code(), redirectURI); err != nil {
		r.t.Fatal(err)
	}
	return id
}

// expire lets the stored access token run out.
func (r *rig) expire(id string) {
	r.t.Helper()
	rec, v := r.record(id)
	rec.AccessExpiresAt = time.Now().Add(-time.Minute)
	if _, err := r.store.Memory.Put(r.t.Context(), id, rec, v); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) record(id string) (vaultstore.Record, vaultstore.Version) {
	r.t.Helper()
	rec, v, err := r.store.Memory.Get(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return rec, v
}

// ageMark moves the open mark so far into the past that no call of it can be on
// the wire any more, as waiting would.
func (r *rig) ageMark(id string) {
	r.t.Helper()
	rec, v := r.record(id)
	if rec.Pending == nil {
		r.t.Fatal("there is no open mark")
	}
	aged := *rec.Pending
	aged.StartedAt = aged.StartedAt.Add(-time.Hour)
	rec.Pending = &aged
	if _, err := r.store.Memory.Put(r.t.Context(), id, rec, v); err != nil {
		r.t.Fatal(err)
	}
}

// works proves that the stored access token opens the bank.
func (r *rig) works(id string) {
	r.t.Helper()
	rec, _ := r.record(id)
	if rec.Pending != nil {
		r.t.Errorf("the journal is still open: %+v", rec.Pending)
	}
	if _, err := r.client.Accounts(r.t.Context(), rec.AccessToken); err != nil {
		r.t.Errorf("the stored access token does not work: %v", err)
	}
}

func (r *rig) fault(f finxtest.Fault) {
	r.t.Helper()
	if _, err := r.sandbox.AddFault(f); err != nil {
		r.t.Fatal(err)
	}
}

var errVaultDown = errors.New("vault is sealed")

// moodyStore is the memory store with a hook before every write.
type moodyStore struct {
	*vaultstoretest.Memory

	mu        sync.Mutex
	puts      int
	beforePut func(n int) error
}

func (m *moodyStore) Put(ctx context.Context, id string, r vaultstore.Record, cas vaultstore.Version) (vaultstore.Version, error) {
	m.mu.Lock()
	m.puts++
	n, hook := m.puts, m.beforePut
	m.mu.Unlock()
	if hook != nil {
		if err := hook(n); err != nil {
			return 0, fault.Transient(fault.Vault, err)
		}
	}
	return m.Memory.Put(ctx, id, r, cas)
}

// hook counts writes anew and calls f before each.
func (m *moodyStore) hook(f func(n int) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts, m.beforePut = 0, f
}

// locks keeps names apart inside this process, as leases do across replicas.
type locks struct {
	mu   sync.Mutex
	held map[string]bool
	off  bool // two holders at once, as when a lease ran out under a paused one
}

var errHeld = errors.New("held")

func (l *locks) lock(ctx context.Context, name string) (context.Context, func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.off {
		return ctx, func() {}, nil
	}
	if l.held == nil {
		l.held = map[string]bool{}
	}
	if l.held[name] {
		return nil, nil, fault.Throttled("", time.Now().Add(time.Second), errHeld)
	}
	l.held[name] = true
	return ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, name)
	}, nil
}

// taken counts the locks that are held.
func (l *locks) taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}
