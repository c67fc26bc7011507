package finx_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
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

// What an answer over the wire says, with its error: Until only when finX named one.
func TestAnswersReachTheGate(t *testing.T) {
	const fallback = time.Minute
	for name, tc := range map[string]struct {
		status int
		body   string
		wait   string // Retry-After
		kind   guard.Kind
		until  time.Duration
		narrow bool
	}{
		"502":                       {502, "", "", guard.Away, 0, false},
		"502 with a time":           {502, "", "30", guard.Away, 0, false},
		"503":                       {503, "", "", guard.Throttled, 0, false},
		"503 with a time":           {503, "", "90", guard.Throttled, 90 * time.Second, false},
		"429 with a time":           {429, finx1000, "120", guard.Throttled, 2 * time.Minute, false},
		"429 with an absurd time":   {429, "", "99999999999", guard.Throttled, 24 * time.Hour, false},
		"429 with a time gone":      {429, "", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), guard.Throttled, 0, false},
		"busy":                      {423, `{"error":{"code":1008}}`, "30", guard.Alive, 0, true},
		"busy, as throttling":       {503, `{"error":{"code":1008}}`, "30", guard.Alive, 0, true},
		"locked user":               {429, `{"error":{"code":1010}}`, "", guard.Alive, 0, true},
		"too many syncs":            {429, `{"error":{"code":1020}}`, "30", guard.Alive, 0, true},
		"a bank is away":            {503, `{"error":{"code":20001}}`, "", guard.Alive, 0, true},
		"the line to a bank is out": {504, `{"error":{"code":40001}}`, "", guard.Alive, 0, true},
		"refused":                   {400, finx1000, "", guard.Alive, 0, false},
		"from a gateway":            {404, "<html>", "", guard.Away, 0, false},
		"redirected":                {302, "", "", guard.Away, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := &door{}
			c := newClient(t, serve(t, answer(tc.status, tc.body, "Retry-After", tc.wait)),
				func(cfg *finx.Config) { cfg.Gate, cfg.ThrottleDefault = d, fallback })
			for _, kind := range callers() {
				err := kind.call(t.Context(), c)
				a := d.heard(t)
				if a.Kind != tc.kind || isNarrow(err) != tc.narrow {
					t.Errorf("%s: %+v, narrow %v, of %v", kind.name, a, isNarrow(err), err)
				}
				if got := time.Until(a.Until); a.Until.IsZero() != (tc.until == 0) || tc.until > 0 && (got > tc.until || got < tc.until-10*time.Second) {
					t.Errorf("%s: until %v, want %v", kind.name, got, tc.until)
				}
				noSecretIn(t, a.Why)
			}
		})
	}
}

const finx1000 = `{"error":{"code":1000,"description":"words","group":"client"}}`

func isNarrow(err error) bool {
	fe, ok := errors.AsType[*fault.Error](err)
	return ok && fe.Narrow
}

func noSecretIn(t *testing.T, text string) {
	t.Helper()
	for _, secret := range canaries() {
		if strings.Contains(text, secret) {
			t.Errorf("%q shows in %q", secret, text)
		}
	}
	if len(text) > 300 || strings.Contains(text, "\n") {
		t.Errorf("no line for people: %q", text)
	}
}

// A 2xx answer that is of no use: finX's own, or made up by what is in front of it.
func TestUnusableAnswersReachTheGate(t *testing.T) {
	for body, want := range map[string]guard.Kind{
		"":                               guard.Away,
		"<html>maintenance</html>":       guard.Away,
		"OK":                             guard.Away,
		"null":                           guard.Away,
		`"x"`:                            guard.Away,
		"{}":                             guard.Away,
		`{"message":"maintenance"}`:      guard.Away,
		`{"error":"maintenance"}`:        guard.Away,
		`{"message":"` + canaryNewAccess: guard.Away,
		finx1000:                         guard.Alive,
		`{"error":"invalid_request"}`:    guard.Alive,
		`{"location":false,"accounts":{},"transactions":1,"access_token":{}}`:                                guard.Alive,
		`{"location":"","accounts":[{"account_id":"A"},{"iban":"DE"}],"transactions":[1],"access_token":""}`: guard.Alive,
		"\ufeff" + `{"location":[],"accounts":[{}],"transactions":[[]],"access_token":null`:                  guard.Alive,
	} {
		d := &door{}
		c := newClient(t, serve(t, answer(200, body)), behind(d))
		for _, kind := range callers() {
			err := kind.call(t.Context(), c)
			a := d.heard(t)
			if kind.name == "revoke" { // does not look at it
				continue
			}
			if err == nil || a.Kind != want || (a.Why == "") != (want == guard.Alive) {
				t.Errorf("%s, %q: %+v, %v", kind.name, body, a, err)
			}
			noSecretIn(t, a.Why)
		}
	}
	d := &door{}
	c := newClient(t, serve(t, answer(200, goodAnswer)), func(cfg *finx.Config) { cfg.Gate, cfg.MaxBodyBytes = d, 10 })
	for _, kind := range callers() {
		if err := kind.call(t.Context(), c); (err == nil) != (kind.name == "revoke") || d.heard(t).Kind != guard.Alive {
			t.Errorf("too large a body, %s: %v", kind.name, err)
		}
	}
}

// Attempts that get no answer, or half of one.
func TestSilenceReachesTheGate(t *testing.T) {
	untrusted := httptest.NewTLSServer(answer(200, goodAnswer))
	untrusted.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(untrusted.Close)
	closed := httptest.NewServer(answer(200, goodAnswer))
	closed.Close()
	half := func(end http.HandlerFunc) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5000")
			_, _ = io.WriteString(w, `{"accounts":[`)
			_ = http.NewResponseController(w).Flush()
			end(w, r)
		})
	}
	for name, base := range map[string]string{
		"refused connection": closed.URL,
		"unknown host":       "http://finx.invalid",
		"untrusted":          untrusted.URL,
		"not HTTP":           serve(t, func(w http.ResponseWriter, _ *http.Request) { hijack(w, canaryNewAccess+"\r\n\r\n") }),
		"reset":              serve(t, func(w http.ResponseWriter, _ *http.Request) { hijack(w, "") }),
		"hangs":              serve(t, hang),
		"broken off":         half(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		"hangs in the body":  half(hang),
	} {
		t.Run(name, func(t *testing.T) {
			d := &door{}
			c := newClient(t, base, func(cfg *finx.Config) {
				limit := 200 * time.Millisecond
				cfg.Gate = d
				cfg.Timeouts = finx.Timeouts{Link: limit, Token: limit, Revoke: limit, Accounts: limit, Transactions: limit}
			})
			for _, kind := range callers() {
				err := kind.call(t.Context(), c)
				a := d.heard(t)
				if kind.name == "revoke" && err == nil {
					continue // it has seen the status, and looks no further
				}
				if a.Kind != guard.Away || !strings.HasPrefix(a.Why, "no answer of finX: ") || isNarrow(err) {
					t.Errorf("%s: %+v, %v", kind.name, a, err)
				}
				noSecretIn(t, a.Why)
			}
		})
	}
	t.Run("ended by the caller", func(t *testing.T) {
		for _, base := range []string{serve(t, hang), half(hang)} {
			d := &door{}
			c := newClient(t, base, behind(d))
			for _, kind := range callers() {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				err := kind.call(ctx, c)
				cancel()
				if a := d.heard(t); kind.name != "revoke" && a != (guard.Answer{}) {
					t.Errorf("%s: %+v, %v", kind.name, a, err)
				}
			}
		}
	})
}

func hijack(w http.ResponseWriter, say string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_, _ = io.WriteString(conn, say)
		_ = conn.Close()
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
// finX named, but for a token call that was admitted before.
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
	if _, err := c.Refresh(context.WithoutCancel(admitted), secretOf(canaryRefresh)); err != nil || sent.Load() != 2 {
		t.Errorf("%d sent, %v", sent.Load(), err)
	}
	if s := g.Status(); !s.Open {
		t.Errorf("an answer to a call that was admitted before has closed it: %+v", s)
	}
}
