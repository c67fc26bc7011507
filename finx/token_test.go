package finx_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func TestTokenAnswers(t *testing.T) {
	tests := map[string]struct {
		status    int
		body      string
		refresh   string
		tokenType string
		scope     string
		expires   time.Duration
	}{
		"documented":          {200, `{"access_token":"A","expires_in":3600,"scope":"accounts=ro offline","token_type":"Bearer","refresh_token":"R"}`, "R", "Bearer", "accounts=ro offline", time.Hour},
		"created":             {201, `{"access_token":"A","refresh_token":"R","expires_in":60}`, "R", "", "", time.Minute},
		"no refresh token":    {200, `{"access_token":"A"}`, "", "", "", time.Hour},
		"null refresh token":  {200, `{"access_token":"A","refresh_token":null}`, "", "", "", time.Hour},
		"numeric string":      {200, `{"access_token":"A","refresh_token":"R","expires_in":"120"}`, "R", "", "", 2 * time.Minute},
		"fraction":            {200, `{"access_token":"A","refresh_token":"R","expires_in":1.5}`, "R", "", "", 1500 * time.Millisecond},
		"odd optional fields": {200, `{"access_token":"A","refresh_token":"R","expires_in":{"s":1},"scope":["a"],"token_type":false,"id_token":[[]]}`, "R", "", "", time.Hour},
		"negative lifetime":   {200, `{"access_token":"A","refresh_token":"R","expires_in":-1}`, "R", "", "", 0},
		"no lifetime left":    {200, `{"access_token":"A","refresh_token":"R","expires_in":0}`, "R", "", "", 0},
		"absurd lifetime":     {200, `{"access_token":"A","refresh_token":"R","expires_in":1e99}`, "R", "", "", 90 * 24 * time.Hour},
		"not a number":        {200, `{"access_token":"A","refresh_token":"R","expires_in":"NaN"}`, "R", "", "", time.Hour},
		"more behind it":      {200, `{"access_token":"A","refresh_token":"R"} trailing`, "R", "", "", time.Hour},
		"both and then cut":   {200, `{"access_token":"A","refresh_token":"R","scope":"acc`, "R", "", "", time.Hour},
		"escapes":             {200, `{"access_token":"\u0041","refresh_token":"\/R"}`, "/R", "", "", time.Hour},
		"number":              {200, `{"access_token":"A","refresh_token":12345}`, "12345", "", "", time.Hour},
		"long number":         {200, `{"refresh_token":123456789012345678901234567890.10 ,"access_token":"A"}`, "123456789012345678901234567890.10", "", "", time.Hour},
		"number and then cut": {200, `{"access_token":"A","refresh_token":12345,"sc`, "12345", "", "", time.Hour},
		"byte order mark":     {200, "\ufeff" + `{"access_token":"A","refresh_token":"R"}`, "R", "", "", time.Hour},
		"mark and number":     {200, "\ufeff" + `{"access_token":"A","refresh_token":12345}`, "12345", "", "", time.Hour},
		"long":                {200, `{"access_token":"A","refresh_token":"` + strings.Repeat("R", 100_000) + `"}`, strings.Repeat("R", 100_000), "", "", time.Hour},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, serve(t, answer(tc.status, tc.body)), nil)
			before := time.Now()
			got, err := c.Refresh(t.Context(), secretOf(canaryRefresh))
			if err != nil {
				t.Fatal(err)
			}
			if got.AccessToken.Reveal() != "A" || got.RefreshToken.Reveal() != tc.refresh {
				t.Errorf("tokens of %d and %d bytes", got.AccessToken.Len(), got.RefreshToken.Len())
			}
			if got.TokenType != tc.tokenType || got.Scope != tc.scope || got.ExpiresIn != tc.expires {
				t.Errorf("got %+v", got)
			}
			if got.ReceivedAt.Before(before) || got.ReceivedAt.After(time.Now()) {
				t.Errorf("received at %v", got.ReceivedAt)
			}
		})
	}
}

func TestAnAccessTokenMayBeANumber(t *testing.T) {
	c := newClient(t, serve(t, answer(200, `{"access_token":4711,"refresh_token":"R"}`)), nil)
	got, err := c.ExchangeCode(t.Context(), secretOf(canaryCode), "")
	if err != nil || got.AccessToken.Reveal() != "4711" || got.RefreshToken.Reveal() != "R" {
		t.Errorf("tokens of %d and %d bytes, %v", got.AccessToken.Len(), got.RefreshToken.Len(), err)
	}
}

func TestTokenAnswersThatLoseTheToken(t *testing.T) {
	for name, body := range map[string]string{
		"empty":                 ``,
		"no access token":       `{"refresh_token":"R"}`,
		"no access token, mark": "\ufeff" + `{"refresh_token":"R"}`,
		"empty access token":    `{"access_token":"","refresh_token":"R"}`,
		"access token a list":   `{"access_token":["A"],"refresh_token":"R"}`,
		"cut inside a number":   `{"access_token":"A","refresh_token":123`,
		"no number":             `{"access_token":"A","refresh_token":123abc}`,
		"cut before refresh":    `{"access_token":"A","expires_in":3600,"refresh_to`,
		"cut inside refresh":    `{"access_token":"A","refresh_token":"Rsecret`,
		"array":                 `[]`,
		"web page":              `<html>OK</html>`,
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, serve(t, answer(200, body)), nil)
			got, err := c.ExchangeCode(t.Context(), secretOf(canaryCode), "")
			if !fault.IsAmbiguous(err) || fault.Of(err) != fault.Retry {
				t.Errorf("error %v, want an ambiguous one", err)
			}
			if !got.AccessToken.IsZero() {
				t.Error("half an answer was handed out")
			}
		})
	}
}

// wire is a server that speaks raw bytes: on each connection it answers the first
// request well and treats the next as second says.
type wire struct {
	addr     string
	requests atomic.Int64 // complete requests seen
}

func newWire(t *testing.T, second func(net.Conn)) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	w := &wire{addr: "http://" + l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go w.serve(conn, second)
		}
	}()
	return w
}

func (w *wire) serve(conn net.Conn, second func(net.Conn)) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for n := 0; ; n++ {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		w.requests.Add(1)
		if n > 0 {
			second(conn)
			return
		}
		body := `{"accounts":[],"access_token":"A","refresh_token":"R"}`
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 54\r\n\r\n"+body)
	}
}

// net/http repeats requests on its own when a reused connection dies. That may
// never happen to a token call, and the test shows that it does happen to reads.
func TestTokenCallIsSentOnceOnADyingConnection(t *testing.T) {
	for name, die := range map[string]func(net.Conn){
		"closed": func(net.Conn) {},
		"reset":  func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) },
	} {
		for _, kind := range callers() {
			if !kind.token && kind.name != "accounts" {
				continue
			}
			t.Run(name+" "+kind.name, func(t *testing.T) {
				w := newWire(t, die)
				c := newClient(t, w.addr, nil)
				if err := kind.call(t.Context(), c); err != nil {
					t.Fatalf("first call: %v", err)
				}
				err := kind.call(t.Context(), c)
				if !kind.token {
					if err != nil || w.requests.Load() != 3 {
						t.Fatalf("%d requests, error %v: the trap this test is about is gone", w.requests.Load(), err)
					}
					return
				}
				if n := w.requests.Load(); n != 2 {
					t.Errorf("%d requests for two calls", n)
				}
				if !fault.IsAmbiguous(err) {
					t.Errorf("error %v, want an ambiguous one: the request had been read", err)
				}
			})
		}
	}
}

// What lets net/http send a body again is left out of every request that has one.
func TestNoBodyCanBeSentAgain(t *testing.T) {
	var sent *http.Request
	c := newClient(t, "http://finx.test", func(cfg *finx.Config) {
		cfg.Transport = roundTripFunc(func(r *http.Request) (*http.Response, error) {
			sent = r
			return failing(r)
		})
	})
	for _, kind := range callers() {
		if kind.user {
			continue
		}
		_ = kind.call(t.Context(), c)
		if sent.GetBody != nil || sent.Header["Idempotency-Key"] != nil || sent.ContentLength <= 0 {
			t.Errorf("%s: GetBody set %v, length %d", kind.name, sent.GetBody != nil, sent.ContentLength)
		}
	}
}

// An idle connection that the server closed is noticed, and costs nothing.
func TestTokenCallAfterTheServerClosedAnIdleConnection(t *testing.T) {
	var requests atomic.Int64
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, `{"access_token":"A"}`)
	})
	c := newClient(t, base, nil)
	for range 20 {
		if _, err := c.Refresh(t.Context(), secretOf(canaryRefresh)); err != nil {
			t.Fatal(err)
		}
	}
	if requests.Load() != 20 {
		t.Errorf("%d requests for 20 calls", requests.Load())
	}
}

// A token call that fails is not repeated by the client either, whatever the
// retry budget.
func TestTokenCallsAreNotRepeated(t *testing.T) {
	for _, status := range []int{500, 502, 503, 429, 408} {
		var requests atomic.Int64
		base := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			requests.Add(1)
			w.WriteHeader(status)
		})
		c := newClient(t, base, func(cfg *finx.Config) { cfg.RetryBudget = time.Hour; cfg.ThrottleDefault = time.Millisecond })
		for _, kind := range callers() {
			if !kind.token {
				continue
			}
			requests.Store(0)
			if err := kind.call(t.Context(), c); err == nil || requests.Load() != 1 {
				t.Errorf("%s on %d: %d requests, error %v", kind.name, status, requests.Load(), err)
			}
		}
	}
}

// Where a network error leaves a token call in doubt, and where it does not.
func TestTokenCallNetworkErrors(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	raw := func(reply string) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			conn, _, _ := w.(http.Hijacker).Hijack()
			_, _ = io.WriteString(conn, reply)
			_ = conn.Close()
		})
	}
	dial := func(err error) func(*finx.Config) {
		return func(cfg *finx.Config) {
			cfg.Transport = &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, err }}
		}
	}
	short := func(cfg *finx.Config) { cfg.Timeouts.Token = 50 * time.Millisecond }
	tests := map[string]struct {
		base      string
		edit      func(*finx.Config)
		ambiguous bool
		is        error
	}{
		"refused":             {base: "http://" + closed.Addr().String()},
		"no such host":        {base: "http://finx.test", edit: dial(&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "finx.test"}})},
		"dial timeout":        {base: "http://finx.test", edit: dial(context.DeadlineExceeded)},
		"not TLS":             {base: strings.Replace(raw("HTTP/1.1 400 Bad\r\n\r\n"), "http://", "https://", 1)},
		"closed unanswered":   {base: raw(""), ambiguous: true, is: io.EOF},
		"half a header":       {base: raw("HTTP/1.1 200 OK\r\nContent-Le"), ambiguous: true},
		"half a body":         {base: raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"access_token\":\"A\","), ambiguous: true, is: io.ErrUnexpectedEOF},
		"no HTTP":             {base: raw("SMTP ready " + canaryRefresh + "\r\n\r\n"), ambiguous: true},
		"no answer in time":   {base: serve(t, hang), edit: short, ambiguous: true, is: context.DeadlineExceeded},
		"no body in time":     {base: serve(t, halfThenHang), edit: short, ambiguous: true, is: context.DeadlineExceeded},
		"untraced transport":  {base: "http://finx.test", edit: func(cfg *finx.Config) { cfg.Transport = roundTripFunc(failing) }, ambiguous: true},
		"answer above limits": {base: serve(t, answer(200, strings.Repeat(" ", 200))), edit: func(cfg *finx.Config) { cfg.MaxBodyBytes = 100 }, ambiguous: true, is: finx.ErrBodyTooLarge},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, tc.base, tc.edit)
			for _, kind := range callers() {
				if !kind.token {
					continue
				}
				err := kind.call(t.Context(), c)
				checkVerdict(t, kind.name, err, want{verdict: fault.Retry, ambiguous: tc.ambiguous})
				if tc.is != nil && !errors.Is(err, tc.is) {
					t.Errorf("%s: %v is not %v", kind.name, err, tc.is)
				}
				if strings.Contains(err.Error(), "://") || strings.Contains(err.Error(), "/auth/token") {
					t.Errorf("%s: a URL in %v", kind.name, err)
				}
				leaksNothing(t, err)
			}
		})
	}
}

// The connection breaks after both tokens were read: they are not thrown away.
func TestTokensBeforeABrokenConnectionAreKept(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "500")
		_, _ = io.WriteString(w, `{"access_token":"A","refresh_token":"R","sc`)
	})
	got, err := newClient(t, base, nil).Refresh(t.Context(), secretOf(canaryRefresh))
	if err != nil || got.AccessToken.Reveal() != "A" || got.RefreshToken.Reveal() != "R" {
		t.Errorf("tokens lost: %v", err)
	}
}

// hang answers nothing until the client has gone.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func halfThenHang(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, `{"access_token":"A",`)
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func failing(*http.Request) (*http.Response, error) { return nil, errors.New("broken") }
