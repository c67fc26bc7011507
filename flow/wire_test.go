package flow_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

// sealable is a Vault that can be sealed.
type sealable struct {
	*vaultstoretest.Memory
	sealed *atomic.Bool
	reads  *atomic.Int64
}

var errSealed = fault.Transient(fault.Vault, errors.New("vault is sealed"))

func (s sealable) Get(ctx context.Context, id string) (vaultstore.Record, vaultstore.Version, error) {
	if s.sealed.Load() {
		s.reads.Add(1)
		return vaultstore.Record{}, 0, errSealed
	}
	return s.Memory.Get(ctx, id)
}

func (s sealable) Put(ctx context.Context, id string, r vaultstore.Record, cas vaultstore.Version) (vaultstore.Version, error) {
	if s.sealed.Load() {
		return 0, errSealed
	}
	return s.Memory.Put(ctx, id, r, cas)
}

// wire brings requests to a handler in this process.
type wire struct {
	host http.Handler

	mu    sync.Mutex
	down  bool
	vain  int // calls while down
	spent []spent
}

// spent is one refresh token on its way to finX.
type spent struct {
	at     time.Time
	token  string
	status int
}

var errNoRoute = errors.New("dial tcp: no route to host")

// RoundTrip is http.RoundTripper's.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		defer req.Body.Close()
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	if w.isDown() {
		if trace := httptrace.ContextClientTrace(req.Context()); trace != nil && trace.GetConn != nil {
			trace.GetConn(req.URL.Host) // but never WroteHeaders: nothing was sent
		}
		return nil, errNoRoute
	}
	inner := httptest.NewRequestWithContext(req.Context(), req.Method, req.URL.String(), bytes.NewReader(body))
	inner.Header = req.Header
	answer := httptest.NewRecorder()
	w.host.ServeHTTP(answer, inner)
	w.note(req, body, answer.Code)
	resp := answer.Result()
	resp.Request = req
	return resp, nil
}

func (w *wire) note(req *http.Request, body []byte, status int) {
	var grant struct {
		RefreshToken string `json:"refresh_token"`
	}
	if !strings.HasSuffix(req.URL.Path, "/auth/token") || json.Unmarshal(body, &grant) != nil || grant.RefreshToken == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spent = append(w.spent, spent{time.Now(), grant.RefreshToken, status})
}

func (w *wire) isDown() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		w.vain++
	}
	return w.down
}

// refusals returns how many calls there were while finX was away.
func (w *wire) refusals() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.vain
}

func (w *wire) cut(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

// refreshes returns the refresh tokens that were spent.
func (w *wire) refreshes() []spent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clip(w.spent)
}

// memoryBus keeps what is published.
type memoryBus struct {
	*world

	mu        sync.Mutex
	published []events.Output
	requests  int
	asked     []string // ids of the requests
}

func (b *memoryBus) Publish(_ context.Context, o events.Output) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.published = append(b.published, o)
	return nil
}

func (b *memoryBus) RequestSync(_ context.Context, id string, _ time.Time, _ events.Cause, in events.SyncRequested) error {
	b.mu.Lock()
	b.requests++
	b.asked = append(b.asked, id)
	b.mu.Unlock()
	if b.syncs {
		go func() {
			if err := b.SyncRequested(b.t.Context(), event(id), in); err != nil {
				b.t.Error(err)
			}
		}()
	}
	return nil
}

func (b *memoryBus) ScheduleSync(ctx context.Context, id string, at time.Time, in events.SyncRequested) error {
	return b.timers.ScheduleSync(ctx, id, at, in)
}

func (b *memoryBus) NewFetch(flow.FetchMeta) flow.Parts { return &memoryParts{} }

// all returns the published events of a type, repetitions too.
func (b *memoryBus) all(typ string) []events.Output {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []events.Output
	for _, o := range b.published {
		if o.Type == typ {
			out = append(out, o)
		}
	}
	return out
}

// memoryParts counts what a fetch brings.
type memoryParts struct{ account events.AccountFetched }

func (p *memoryParts) StartAccount(h flow.AccountHead) {
	p.account = events.AccountFetched{AccountID: h.ID, Parts: 1}
}

func (p *memoryParts) AddPage(_ context.Context, transactions [][]byte, _ bool) error {
	p.account.Transactions += len(transactions)
	return nil
}

func (p *memoryParts) FinishAccount(context.Context) (events.AccountFetched, error) {
	return p.account, nil
}
func (p *memoryParts) Close() []string { return nil }
