package custody_test

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// vaultView is the secret store as one process sees it: through the world, and
// with times as the clocks of two machines would show them.
type vaultView struct{ *process }

// Get is vaultstore.Store's.
func (v vaultView) Get(ctx context.Context, id string) (vaultstore.Record, vaultstore.Version, error) {
	r := v.do(ctx, &request{
		to: vault, what: "get", limit: worldTimeout, lost: fault.Transient(fault.Vault, errAway),
		act: func() reply {
			v.w.tick++
			rec, version, err := v.w.store.Get(context.WithoutCancel(ctx), id)
			if ctx.Value(underLock{}) != nil {
				v.read, v.saw = v.w.tick, rec.RefreshToken.Reveal()
			}
			return reply{rec: rec, version: version, err: err}
		},
	})
	return shifted(r.rec, -v.skew), r.version, r.err
}

// Put is vaultstore.Store's.
func (v vaultView) Put(ctx context.Context, id string, rec vaultstore.Record, cas vaultstore.Version) (vaultstore.Version, error) {
	rec = shifted(rec, v.skew)
	r := v.do(ctx, &request{
		to: vault, what: "put", limit: worldTimeout, writes: true, lost: fault.Ambiguous(fault.Vault, errAway),
		act: func() reply { return v.w.put(ctx, v.process, id, rec, cas) },
	})
	return r.version, r.err
}

func (w *world) put(ctx context.Context, p *process, id string, rec vaultstore.Record, cas vaultstore.Version) reply {
	before, _, _ := w.store.Get(context.WithoutCancel(ctx), id)
	version, err := w.store.Put(context.WithoutCancel(ctx), id, rec, cas)
	if err != nil {
		w.facts.conflict(rec)
		return reply{err: err}
	}
	w.facts.stored(w, p, before, rec)
	return reply{version: version}
}

// shifted is a record whose times were written by a clock that is off by d.
func shifted(r vaultstore.Record, d time.Duration) vaultstore.Record {
	move := func(t time.Time) time.Time {
		if t.IsZero() {
			return t
		}
		return t.Add(d)
	}
	r.AccessExpiresAt, r.RefreshObtainedAt = move(r.AccessExpiresAt), move(r.RefreshObtainedAt)
	if r.Pending != nil {
		mark := *r.Pending
		mark.StartedAt = move(mark.StartedAt) // only the newest mark's time counts
		r.Pending = &mark
	}
	return r
}

// finxView is the token endpoint as one process sees it.
type finxView struct{ *process }

// ExchangeCode is finx.Client's.
func (v finxView) ExchangeCode(ctx context.Context, code secret.Text, _ string) (finx.Tokens, error) {
	return v.call(ctx, "exchange", code, func() (finx.Tokens, error) {
		return v.w.provider.exchange(code.Reveal(), time.Now())
	})
}

// Refresh is finx.Client's.
func (v finxView) Refresh(ctx context.Context, token secret.Text) (finx.Tokens, error) {
	return v.call(ctx, "refresh", token, func() (finx.Tokens, error) {
		return v.w.provider.refresh(token.Reveal())
	})
}

// leave is a turn in the context of whoever got it.
type leave struct {
	by    *process
	calls int
}

// use counts a call, and ends the turn as far as others are kept waiting by it.
func (l *leave) use() { l.calls++; l.end(1) }

// end takes back a turn that so many calls were made in.
func (l *leave) end(calls int) {
	l.by.w.mu.Lock()
	defer l.by.w.mu.Unlock()
	if l.calls == calls {
		l.by.given--
	}
}

type leaveKey struct{}

// AdmitToken is finx.Client's.
func (v finxView) AdmitToken(ctx context.Context, exchange bool) (context.Context, func(), error) {
	until := time.Now().Add(turnWait)
	r := v.do(ctx, &request{
		to: turns, what: "turn", limit: turnWait, lost: fault.Throttled(fault.FinX, until, errAway),
		act: func() reply {
			v.w.facts.waits(ctx, v.process)
			return reply{}
		},
	})
	if r.err != nil {
		return nil, nil, r.err
	}
	v.w.mu.Lock()
	v.given++
	v.w.mu.Unlock()
	turn := &leave{by: v.process}
	return context.WithValue(ctx, leaveKey{}, turn), func() { turn.end(0) }, nil
}

// turnWait is the longest that anybody waits for a turn.
const turnWait = 10 * time.Minute

func (v finxView) call(ctx context.Context, what string, value secret.Text, act func() (finx.Tokens, error)) (finx.Tokens, error) {
	r := &request{
		to: finX, what: what, value: value.Reveal(), writes: true,
		// The client has no limit of its own here: custody's must end the call.
		limit: 10 * worldCall,
		lost:  fault.Ambiguous(fault.FinX, errAway),
	}
	r.act = func() reply {
		t, err := act()
		v.w.know(t.RefreshToken.Reveal())
		return reply{tokens: t, err: err}
	}
	turn, _ := ctx.Value(leaveKey{}).(*leave)
	if turn != nil {
		turn.use()
	}
	r.admitted = turn != nil && turn.calls <= 2
	a := v.do(ctx, r)
	a.tokens.ReceivedAt = time.Now()
	return a.tokens, a.err
}

// bucketView is a place for sealed copies as one process sees it.
type bucketView struct {
	*process
	server server
	data   map[string][]byte
}

// Put is custody.Bucket's.
func (b bucketView) Put(ctx context.Context, key string, sealed []byte) error {
	sealed = slices.Clone(sealed)
	return b.do(ctx, &request{
		to: b.server, what: "seal", limit: worldTimeout, writes: true, lost: fault.Ambiguous(fault.NATS, errAway),
		act: func() reply {
			b.w.tick++
			b.data[key] = sealed
			b.w.facts.sealed(b.w, b, key)
			return reply{}
		},
	}).err
}

// Get is custody.Bucket's.
func (b bucketView) Get(ctx context.Context, key string) ([]byte, bool, error) {
	r := b.do(ctx, &request{
		to: b.server, what: "unseal", limit: worldTimeout, lost: fault.Transient(fault.NATS, errAway),
		act: func() reply { return reply{sealed: slices.Clone(b.data[key])} },
	})
	return r.sealed, r.sealed != nil, r.err
}

// Delete is custody.Bucket's.
func (b bucketView) Delete(ctx context.Context, key string) error {
	return b.do(ctx, &request{
		to: b.server, what: "discard", limit: worldTimeout, writes: true, lost: fault.Ambiguous(fault.NATS, errAway),
		act: func() reply {
			delete(b.data, key)
			return reply{}
		},
	}).err
}

// Keys is custody.Bucket's.
func (b bucketView) Keys(ctx context.Context) ([]string, error) {
	r := b.do(ctx, &request{
		to: b.server, what: "list", limit: worldTimeout, lost: fault.Transient(fault.NATS, errAway),
		act: func() reply { return reply{keys: slices.Sorted(maps.Keys(b.data))} },
	})
	return r.keys, r.err
}

// keysView hands out escrow keys as one process sees it.
type keysView struct {
	*process
	keys *custody.StaticKeys
}

// DataKey is custody.DataKeys'.
func (v keysView) DataKey(ctx context.Context) (plain []byte, wrapped string, err error) {
	r := v.do(ctx, &request{
		to: vault, what: "key", limit: worldTimeout, lost: fault.Transient(fault.Vault, errAway),
		act: func() reply {
			plain, wrapped, err := v.keys.DataKey(ctx)
			return reply{plain: plain, wrapped: wrapped, err: err}
		},
	})
	return r.plain, r.wrapped, r.err
}

// OpenKey is custody.DataKeys'.
func (v keysView) OpenKey(ctx context.Context, wrapped string) ([]byte, error) {
	r := v.do(ctx, &request{
		to: vault, what: "key", limit: worldTimeout, lost: fault.Transient(fault.Vault, errAway),
		act: func() reply {
			plain, err := v.keys.OpenKey(ctx, wrapped)
			return reply{plain: plain, err: err}
		},
	})
	return r.plain, r.err
}
