package finx_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func isTooLarge(err error) bool { return errors.Is(err, finx.ErrBodyTooLarge) }

const goodAnswer = `{"location":"https://w.test/","id":"f","access_token":"A","accounts":[],"transactions":[]}`

// failFirst fails n requests with a status and then answers well.
func failFirst(t *testing.T, n int64, status int, body string) (string, *atomic.Int64) {
	var requests atomic.Int64
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) <= n {
			answer(status, body)(w, r)
			return
		}
		answer(200, goodAnswer)(w, r)
	}), &requests
}

func TestRepeatableCallsRecover(t *testing.T) {
	t.Parallel()
	for _, failure := range []struct {
		status int
		body   string
	}{{502, ""}, {200, `{"accounts":[`}, {503, ""}, {302, ""}, {404, ""}} {
		for _, kind := range callers() {
			if kind.token || failure.status == 200 && kind.name == "revoke" {
				continue
			}
			t.Run(kind.name+" after "+strconv.Itoa(failure.status), func(t *testing.T) {
				t.Parallel() // they mostly wait
				base, requests := failFirst(t, 2, failure.status, failure.body)
				c := newClient(t, base, func(cfg *finx.Config) { cfg.RetryBudget = time.Minute; cfg.ThrottleDefault = 50 * time.Millisecond })
				if err := kind.call(t.Context(), c); err != nil || requests.Load() != 3 {
					t.Errorf("%d requests, %v", requests.Load(), err)
				}
			})
		}
	}
}

func TestRefusalsAreNotRepeated(t *testing.T) {
	for _, kind := range callers() {
		for status, body := range map[int]string{400: `{"error":"invalid_request"}`, 401: "", 403: `{"error":{"code":1004}}`, 404: `{"error":{"code":1002}}`, 413: "", 429: ""} {
			base, requests := failFirst(t, 100, status, body)
			c := newClient(t, base, func(cfg *finx.Config) { cfg.RetryBudget = 30 * time.Second })
			if err := kind.call(t.Context(), c); err == nil || requests.Load() != 1 {
				t.Errorf("%s on %d: %d requests, %v", kind.name, status, requests.Load(), err)
			}
		}
	}
}

func TestTimeoutOfEachCall(t *testing.T) {
	base := serve(t, hang)
	for _, kind := range callers() {
		c := newClient(t, base, func(cfg *finx.Config) {
			d := 30 * time.Millisecond
			cfg.Timeouts = finx.Timeouts{Link: d, Token: d, Revoke: d, Accounts: d, Transactions: d}
		})
		err := kind.call(t.Context(), c)
		if !strings.Contains(err.Error(), "no complete answer within 30ms") || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", kind.name, err)
		}
		checkVerdict(t, kind.name, err, want{verdict: fault.Retry, ambiguous: kind.token})
	}
}

// A shutdown shows its cause, blames nobody and does not wait.
func TestCallerEndsTheCall(t *testing.T) {
	shutdown := errors.New("shutting down")
	base := serve(t, hang)
	for _, kind := range callers() {
		ctx, cancel := context.WithCancelCause(t.Context())
		c := newClient(t, base, func(cfg *finx.Config) { cfg.RetryBudget = time.Hour })
		stop := time.AfterFunc(30*time.Millisecond, func() { cancel(shutdown) })
		err := kind.call(ctx, c)
		stop.Stop()
		if !errors.Is(err, shutdown) || fault.Of(err) != fault.Retry || fault.DependencyOf(err) != "" || fault.IsAmbiguous(err) != kind.token {
			t.Errorf("%s: %v (dependency %q)", kind.name, err, fault.DependencyOf(err))
		}
	}
}

// Once there is a connection for each caller, none is dialled any more, also not
// after refusals.
func TestConnectionsAreReused(t *testing.T) {
	var dialled atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ongoing/access" {
			answer(400, strings.Repeat("<p>no</p>", 1000))(w, r)
			return
		}
		answer(200, goodAnswer)(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			dialled.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	const callersAtOnce = 16
	c := newClient(t, s.URL, func(cfg *finx.Config) {
		cfg.MaxIdlePerHost = callersAtOnce
		cfg.Transport = trusting(s, finx.PooledTransport(*cfg))
	})
	run := func() (dials int64) {
		before := dialled.Load()
		var wg sync.WaitGroup
		for range callersAtOnce {
			wg.Go(func() {
				for i := range 20 {
					_ = callers()[i%len(callers())].call(t.Context(), c)
				}
			})
		}
		wg.Wait()
		return dialled.Load() - before
	}
	run() // the first calls race their own dials
	if n := run(); n > 2 {
		t.Errorf("%d new connections for %d callers", n, callersAtOnce)
	}
}

// trusting lets the pool accept the certificate of s, and nothing else about it
// is changed.
func trusting(s *httptest.Server, pool *http.Transport) *http.Transport {
	pool.TLSClientConfig = &tls.Config{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	return pool
}

func TestThePoolIsHTTP1WithoutProxy(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	var proto string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto = r.Proto
		_, _ = io.WriteString(w, goodAnswer)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	c := newClient(t, s.URL, func(cfg *finx.Config) { cfg.Transport = trusting(s, finx.PooledTransport(*cfg)) })
	if _, err := c.Accounts(t.Context(), secretOf(canaryAccess)); err != nil || proto != "HTTP/1.1" {
		t.Errorf("%s, %v", proto, err)
	}
}

// Refused credentials are an alarm of their own, whoever sees them, until a call with
// them is answered; a call with an access token shows nothing of them.
func TestMetricsOfRefusedCredentials(t *testing.T) {
	reg := prometheus.NewRegistry()
	_, base := finxtest.Start(t, finxtest.Options{ClientID: clientID, ClientSecret: canaryClientSecret})
	m := finx.NewMetrics(reg)
	refused := func(id string, call func(*finx.Client) error, want float64) {
		t.Helper()
		client := newClient(t, base, func(cfg *finx.Config) { cfg.ClientID, cfg.Metrics = id, m })
		_ = call(client) // the metric is what it is about
		got := -1.0
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "finx_connector_finx_client_refused" {
				got = f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		if got != want {
			t.Errorf("client_refused is %v, want %v", got, want)
		}
	}
	probe := func(c *finx.Client) error { return c.Probe(t.Context()) }
	accounts := func(c *finx.Client) error { _, err := c.Accounts(t.Context(), secretOf(canaryAccess)); return err }
	refused(clientID, probe, 0)
	refused("somebody", probe, 1)
	refused(clientID, accounts, 1)
	refused(clientID, probe, 0)
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := finx.NewMetrics(reg)
	if n := testutil.CollectAndCount(reg, "finx_connector_finx_call_duration_seconds"); n != 8*4 {
		t.Errorf("%d series before the first call, want one a call and verdict", n)
	}
	base, _ := failFirst(t, 1, 502, "")
	c := newClient(t, base, func(cfg *finx.Config) { cfg.RetryBudget = time.Minute; cfg.Metrics = m })
	for _, kind := range callers() {
		if err := kind.call(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	want := `
# HELP finx_connector_finx_calls_in_flight Attempts at finX under way.
# TYPE finx_connector_finx_calls_in_flight gauge
finx_connector_finx_calls_in_flight{call="accounts"} 0
finx_connector_finx_calls_in_flight{call="create_access"} 0
finx_connector_finx_calls_in_flight{call="create_sync"} 0
finx_connector_finx_calls_in_flight{call="exchange_code"} 0
finx_connector_finx_calls_in_flight{call="probe"} 0
finx_connector_finx_calls_in_flight{call="refresh"} 0
finx_connector_finx_calls_in_flight{call="revoke"} 0
finx_connector_finx_calls_in_flight{call="transactions"} 0
# HELP finx_connector_finx_retries_total Attempts repeated inside the client, within its retry budget.
# TYPE finx_connector_finx_retries_total counter
finx_connector_finx_retries_total{call="accounts"} 0
finx_connector_finx_retries_total{call="create_access"} 1
finx_connector_finx_retries_total{call="create_sync"} 0
finx_connector_finx_retries_total{call="exchange_code"} 0
finx_connector_finx_retries_total{call="probe"} 0
finx_connector_finx_retries_total{call="refresh"} 0
finx_connector_finx_retries_total{call="revoke"} 0
finx_connector_finx_retries_total{call="transactions"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "finx_connector_finx_calls_in_flight", "finx_connector_finx_retries_total"); err != nil {
		t.Error(err)
	}
	checkCounts(t, reg, map[string]uint64{"create_access retry": 1, "create_access done": 1, "refresh done": 1, "accounts give_up": 0})
}

func checkCounts(t *testing.T, reg *prometheus.Registry, want map[string]uint64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if h := m.GetHistogram(); h != nil {
				got[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = h.GetSampleCount()
			}
		}
	}
	for series, n := range want {
		if got[series] != n {
			t.Errorf("%s: %d attempts, want %d", series, got[series], n)
		}
	}
}

// A transport that only says "context canceled" does not hide why.
func TestTheCauseIsShownWhateverTheTransportSays(t *testing.T) {
	shutdown := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	c := newClient(t, "http://finx.test", func(cfg *finx.Config) {
		cfg.Transport = roundTripFunc(func(r *http.Request) (*http.Response, error) {
			cancel(shutdown)
			return nil, r.Context().Err()
		})
	})
	if _, err := c.Refresh(ctx, secretOf(canaryRefresh)); !errors.Is(err, shutdown) {
		t.Errorf("got %v", err)
	}
}
