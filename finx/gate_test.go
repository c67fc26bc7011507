package finx_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// door is a gate that notes everything.
type door struct {
	wait func() error // before each turn; nil: none

	mu      sync.Mutex
	begun   []guard.Priority
	answers []guard.Answer
	given   int // back
}

func (d *door) Begin(_ context.Context, p guard.Priority) (func(guard.Answer), error) {
	if d.wait != nil {
		if err := d.wait(); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun = append(d.begun, p)
	return func(a guard.Answer) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.answers = append(d.answers, a)
	}, nil
}

type admittedAs struct{}

func (d *door) Admit(ctx context.Context, p guard.Priority) (context.Context, func(), error) {
	if d.wait != nil {
		if err := d.wait(); err != nil {
			return nil, nil, err
		}
	}
	return context.WithValue(ctx, admittedAs{}, p), func() { d.given++ }, nil
}

// heard returns what was said about finX since the last call: nothing but that.
func (d *door) heard(t *testing.T) guard.Answer {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.begun) != 1 || len(d.answers) != 1 {
		t.Fatalf("%d turns and %d answers of one attempt", len(d.begun), len(d.answers))
	}
	a := d.answers[0]
	d.begun, d.answers = nil, nil
	return a
}

func behind(d *door) func(*finx.Config) { return func(cfg *finx.Config) { cfg.Gate = d } }

func TestPriorities(t *testing.T) {
	want := map[string]guard.Priority{
		"create access": guard.Link, "create sync": guard.Link, "revoke": guard.Token, "exchange code": guard.Callback,
		"refresh": guard.Token, "accounts": guard.Accounts, "transactions": guard.Page,
	}
	d := &door{}
	c := newClient(t, serve(t, answer(200, goodAnswer)), behind(d))
	for _, kind := range callers() {
		if err := kind.call(t.Context(), c); err != nil || !slices.Equal(d.begun, []guard.Priority{want[kind.name]}) {
			t.Errorf("%s: %v, turns %v", kind.name, err, d.begun)
		}
		if a := d.heard(t); a != (guard.Answer{Kind: guard.Alive}) {
			t.Errorf("%s: %+v", kind.name, a)
		}
	}
}

// Without a turn nothing is sent, and the refusal goes up at once when its time is
// beyond what may be repeated inside.
func TestARefusedTurnIsNotWaitedFor(t *testing.T) {
	away := errors.New("finX is away")
	var sent atomic.Int64
	base := serve(t, func(w http.ResponseWriter, r *http.Request) { sent.Add(1); answer(200, goodAnswer)(w, r) })
	for _, kind := range callers() {
		until := time.Now().Add(time.Minute)
		d := &door{wait: func() error { return fault.Throttled(fault.FinX, until, away) }}
		c := newClient(t, base, func(cfg *finx.Config) { cfg.Gate, cfg.RetryBudget = d, 10*time.Second })
		start := time.Now()
		err := kind.call(t.Context(), c)
		if got, ok := fault.Until(err); !ok || !got.Equal(until) || fault.DependencyOf(err) != fault.FinX || !errors.Is(err, away) || fault.IsAmbiguous(err) {
			t.Errorf("%s: %v", kind.name, err)
		}
		if took := time.Since(start); took > 5*time.Second || sent.Load() > 0 {
			t.Errorf("%s: %d sent, after %v", kind.name, sent.Load(), took)
		}
	}
	// A time that is near is waited for, except by calls that go out once.
	for _, kind := range callers() {
		refusals := 0
		d := &door{}
		d.wait = func() error {
			if refusals++; refusals > 2 {
				return nil
			}
			return fault.Throttled(fault.FinX, time.Now().Add(20*time.Millisecond), away)
		}
		c := newClient(t, base, func(cfg *finx.Config) { cfg.Gate, cfg.RetryBudget = d, time.Minute })
		if err := kind.call(t.Context(), c); (err == nil) == kind.token {
			t.Errorf("%s: %v", kind.name, err)
		}
	}
}

// However long the queue, the attempt has all its time when it begins.
func TestTheTimeOutBeginsWithTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &door{wait: func() error { time.Sleep(time.Hour); return nil }}
		c := newClient(t, "http://finx.test", func(cfg *finx.Config) {
			cfg.Gate = d
			cfg.Transport = roundTripFunc(func(r *http.Request) (*http.Response, error) {
				select {
				case <-r.Context().Done():
					return nil, r.Context().Err()
				case <-time.After(14 * time.Second): // links have 15
				}
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: r, Body: io.NopCloser(strings.NewReader(goodAnswer))}, nil
			})
		})
		for _, kind := range callers() {
			if err := kind.call(t.Context(), c); err != nil {
				t.Errorf("%s: %v", kind.name, err)
			}
			_ = d.heard(t)
		}
	})
}

// A panic on the way does not keep the turn.
func TestATurnIsGivenBackAfterAPanic(t *testing.T) {
	d := &door{}
	c := newClient(t, "http://finx.test", func(cfg *finx.Config) {
		cfg.Gate, cfg.Transport = d, roundTripFunc(func(*http.Request) (*http.Response, error) { panic("boom") })
	})
	func() {
		defer func() { _ = recover() }()
		_, _ = c.Accounts(t.Context(), secretOf(canaryAccess))
	}()
	if a := d.heard(t); a != (guard.Answer{}) {
		t.Errorf("%+v", a)
	}
}

func TestAdmitToken(t *testing.T) {
	d := &door{}
	c := newClient(t, "http://finx.test", behind(d))
	for exchange, want := range map[bool]guard.Priority{true: guard.Callback, false: guard.Token} {
		ctx, release, err := c.AdmitToken(t.Context(), exchange)
		if err != nil || ctx.Value(admittedAs{}) != want {
			t.Fatalf("exchange %v: %v, %v", exchange, ctx, err)
		}
		release()
	}
	if d.given != 2 {
		t.Errorf("%d given back", d.given)
	}
	until := time.Now().Add(time.Hour)
	d.wait = func() error { return fault.Throttled(fault.FinX, until, errors.New("away")) }
	if _, _, err := c.AdmitToken(t.Context(), true); fault.Of(err) != fault.WaitUntil || fault.DependencyOf(err) != fault.FinX || !strings.HasPrefix(err.Error(), "finx: ") {
		t.Errorf("error %v", err)
	}
	ctx, release, err := newClient(t, "http://finx.test", nil).AdmitToken(t.Context(), true)
	if release(); err != nil || ctx != t.Context() {
		t.Errorf("without a gate: %v", err)
	}
}

// The guard itself, behind a client: throttled once, nobody asks until the time that
// finX named, not even with a token call that was admitted before.
func TestAGuardIsAGate(t *testing.T) {
	g, err := guard.New(guard.Config{Name: "finx", Holder: "a", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if sent.Add(1) == 1 {
			answer(503, "", "Retry-After", "600")(w, r)
			return
		}
		answer(200, goodAnswer)(w, r)
	})
	c := newClient(t, base, func(cfg *finx.Config) { cfg.Gate, cfg.RetryBudget = g, 10*time.Second })
	admitted, release, err := c.AdmitToken(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, kind := range callers() {
		err := kind.call(t.Context(), c)
		until, ok := fault.Until(err)
		if wait := time.Until(until); !ok || wait < 9*time.Minute || wait > 11*time.Minute || fault.DependencyOf(err) != fault.FinX {
			t.Errorf("%s: %v", kind.name, err)
		}
	}
	if n := sent.Load(); n != 1 {
		t.Errorf("%d requests, want the one that was throttled", n)
	}
	_, err = c.Refresh(context.WithoutCancel(admitted), secretOf(canaryRefresh))
	if until, ok := fault.Until(err); !ok || time.Until(until) < 9*time.Minute || fault.IsAmbiguous(err) || sent.Load() != 1 {
		t.Errorf("%d sent, %v", sent.Load(), err)
	}
	if s := g.Status(); !s.Open {
		t.Errorf("it has closed: %+v", s)
	}
}
