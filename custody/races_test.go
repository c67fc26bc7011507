package custody_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
	"github.com/finx-connector/finx-connector/streams"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// fleet is replicas as processes would be: each with its own connection to the
// broker, its own client of Vault and of finX.
type fleet struct {
	t       *testing.T
	sandbox *finxtest.Sandbox
	js      jetstream.JetStream
	members []*member
	ids     []string

	vaultCalls, lockTries, lockConflicts atomic.Int64
}

type member struct {
	keeper *custody.Keeper
	store  *vaultstore.Store
	client *finx.Client
}

func newFleet(t *testing.T, replicas, connections int) *fleet {
	t.Helper()
	f := &fleet{t: t}
	var base string
	f.sandbox, base = finxtest.Start(t, finxtest.Options{RevokeOnReuse: true})
	broker, vaultServer := natstest.Start(t), vaulttest.Start(t)
	f.js = natstest.JetStream(t, broker.URL())
	topology := streams.Plan(streams.Config{})
	changes, err := topology.Diff(t.Context(), f.js)
	if err == nil {
		err = topology.Apply(t.Context(), f.js, changes)
	}
	if err != nil {
		t.Fatal(err)
	}
	mount := vaultServer.Mount(t)
	for n := range replicas {
		f.members = append(f.members, f.member(n, base, broker.URL(), vaultstore.Config{
			Address: vaultServer.Addr, Token: secret.New(vaultServer.Token), Mount: mount, Concurrency: 4,
		}))
	}
	f.establish(connections)
	return f
}

func (f *fleet) member(n int, finXURL, natsURL string, c vaultstore.Config) *member {
	f.t.Helper()
	m := &member{}
	var err error
	if m.store, err = vaultstore.New(c); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(m.store.Close)
	m.client, err = finx.New(finx.Config{
		BaseURL: finXURL, ClientID: "sandbox", ClientSecret: secret.New("sandbox-secret"), RetryBudget: -1,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(m.client.CloseIdle)
	leases, err := connectionkv.New(connectionkv.Config{JS: natstest.JetStream(f.t, natsURL)})
	if err != nil {
		f.t.Fatal(err)
	}
	name := fmt.Sprintf("replica-%d", n)
	locker := &connectionkv.Locker{Leases: leases, Owner: name, TTL: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)}
	m.keeper, err = custody.New(custody.Config{
		Secrets: countedStore{m.store, f}, Tokens: m.client, Lock: f.counted(locker.Lock), Holder: name,
		CallLimit: 10 * time.Second, RefreshSkew: time.Minute, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

// countedStore counts the operations of all replicas on Vault.
type countedStore struct {
	*vaultstore.Store
	f *fleet
}

// Get is vaultstore.Store's.
func (s countedStore) Get(ctx context.Context, id string) (vaultstore.Record, vaultstore.Version, error) {
	s.f.vaultCalls.Add(1)
	return s.Store.Get(ctx, id)
}

// Put is vaultstore.Store's.
func (s countedStore) Put(ctx context.Context, id string, r vaultstore.Record, cas vaultstore.Version) (vaultstore.Version, error) {
	s.f.vaultCalls.Add(1)
	return s.Store.Put(ctx, id, r, cas)
}

func (f *fleet) counted(lock custody.LockFunc) custody.LockFunc {
	return func(ctx context.Context, name string) (context.Context, func(), error) {
		f.lockTries.Add(1)
		held, release, err := lock(ctx, name)
		if errors.Is(err, connection.ErrLeaseHeld) {
			f.lockConflicts.Add(1)
		}
		return held, release, err
	}
}

// establish makes connections whose access tokens have just run out.
func (f *fleet) establish(connections int) {
	f.t.Helper()
	f.ids = make([]string, connections)
	var wait sync.WaitGroup
	next := atomic.Int64{}
	for _, m := range f.members[:min(8, len(f.members))] {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(connections); i = next.Add(1) - 1 {
				if err := f.expired(m, int(i)); err != nil {
					f.t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	if f.t.Failed() {
		f.t.FailNow()
	}
}

func (f *fleet) expired(m *member, i int) error {
	ctx := f.t.Context()
	link, err := m.client.CreateAccess(ctx, finx.AccessRequest{RedirectURI: redirectURI, UserID: fmt.Sprintf("u-%d", i), State: "s"})
	if err != nil {
		return err
	}
	back, err := f.sandbox.Approve(link.Location.Reveal())
	if err != nil {
		return err
	}
	tokens, err := m.client.ExchangeCode(ctx, secret.New(back.Query().Get("code")), redirectURI)
	if err != nil {
		return err
	}
	f.ids[i] = events.NewUUID()
	_, err = m.store.Put(ctx, f.ids[i], vaultstore.Record{
		AccessToken: tokens.AccessToken, RefreshToken: tokens.RefreshToken, Rotation: 1,
		AccessExpiresAt: time.Now().Add(-time.Minute), RefreshObtainedAt: tokens.ReceivedAt,
	}, 0)
	return err
}

// ask asks for the access token as the consumer does: again, when the verdict
// is to try again.
func (m *member) ask(ctx context.Context, id string) (custody.Grant, error) {
	for {
		grant, err := m.keeper.Access(ctx, id)
		wait := 5*time.Millisecond + rand.N(25*time.Millisecond)
		switch v := fault.Of(err); {
		case err == nil, v == fault.GiveUp, errors.Is(err, custody.ErrRotationUnknown), errors.Is(err, custody.ErrRefreshRejected):
			return grant, err
		case v == fault.WaitUntil:
			until, _ := fault.Until(err)
			wait = time.Until(until)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return grant, errors.Join(context.Cause(ctx), err)
		}
	}
}

// All replicas find all access tokens expired at once, some in the same order. A
// provider that revokes everything at the first repetition must see each refresh
// token once, and every replica must get the same new access token.
func TestExpiriesOfAFleetAreOneCallEach(t *testing.T) {
	replicas, connections := 32, 100
	if os.Getenv("FINX_TEST_LONG") != "" {
		connections = 2000
	}
	f := newFleet(t, replicas, connections)
	f.vaultCalls.Store(0)
	begun := time.Now()
	newest := make([]atomic.Pointer[secret.Text], connections)
	const workers = 4 // of each replica
	var wait sync.WaitGroup
	together := rand.Perm(connections)
	for n, m := range f.members {
		order := rand.Perm(connections)
		if n%2 == 0 {
			order = together // half of them meet at every connection
		}
		work := make(chan int, connections)
		for _, i := range order {
			work <- i
		}
		close(work)
		for range workers {
			wait.Go(func() {
				for i := range work {
					grant, err := m.ask(t.Context(), f.ids[i])
					if err != nil {
						t.Error(err)
						return
					}
					if !newest[i].CompareAndSwap(nil, &grant.AccessToken) && *newest[i].Load() != grant.AccessToken {
						t.Errorf("two replicas have two access tokens of connection %d", i)
					}
				}
			})
		}
	}
	wait.Wait()
	t.Logf("%d replicas, %d connections: %s, %d operations on Vault, %d tries for a lock of which %d found it held",
		replicas, connections, time.Since(begun).Round(time.Millisecond), f.vaultCalls.Load(), f.lockTries.Load(), f.lockConflicts.Load())
	f.oneCallEach(connections)
	if f.lockConflicts.Load() == 0 {
		t.Error("no replica ever met another one: nothing was proved")
	}
}

func (f *fleet) oneCallEach(connections int) {
	f.t.Helper()
	s := f.sandbox.Stats()
	if s.Total("token.refresh") != connections || s.Refreshes != connections || s.Rotations != connections {
		f.t.Errorf("%d calls, %d accepted, %d rotations; want %d of each", s.Total("token.refresh"), s.Refreshes, s.Rotations, connections)
	}
	if s.RefreshesReused != 0 || s.FamiliesRevoked != 0 {
		f.t.Errorf("%d reuses, %d families revoked", s.RefreshesReused, s.FamiliesRevoked)
	}
}

// A lock that is taken away while the call is on the wire lets the others in,
// and the mark keeps them from making the call a second time.
func TestALockTakenAwayMidCallIsStillOneCall(t *testing.T) {
	f := newFleet(t, 4, 1)
	id := f.ids[0]
	if _, err := f.sandbox.AddFault(finxtest.Fault{Call: "token.refresh", Times: 1, When: "after", Delay: finxtest.Duration(time.Second)}); err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() {
		_, err := f.members[0].ask(t.Context(), id)
		first <- err
	}()
	natstest.Eventually(t, 5*time.Second, func() bool { return f.sandbox.Stats().Rotations == 1 }, "the token is rotated")
	leases, err := f.js.KeyValue(t.Context(), connectionkv.BucketLeases)
	if err != nil {
		t.Fatal(err)
	}
	if err := leases.Delete(t.Context(), "tokens."+id); err != nil {
		t.Fatal(err)
	}
	_, err = f.members[1].keeper.Access(t.Context(), id)
	if f.lockTries.Load() != 2 || f.lockConflicts.Load() != 0 || fault.Of(err) != fault.WaitUntil {
		t.Fatalf("error %v; a replica that gets the lock must find the mark and wait", err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	for _, m := range f.members {
		if _, err := m.ask(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	f.oneCallEach(1)
}
