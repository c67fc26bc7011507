package finx_test

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// want is the verdict in the words of the design, kept apart from the code's table.
type want struct {
	verdict   fault.Verdict
	ambiguous bool
	is        error
}

// wantOfStatus is what a bare status without a body has to mean. No 4xx of the
// kind is finX's word, so it ends nothing, but for those about the size of what was
// sent, which no other attempt makes smaller.
func wantOfStatus(c caller, status int) want {
	switch {
	case status <= 299 && c.name == "revoke":
		return want{verdict: fault.Done}
	case status <= 299: // an answer without the body that was asked for
		return want{verdict: fault.Retry, ambiguous: c.token}
	case status <= 399, status == 407, status == 421:
		return want{verdict: fault.Retry, is: finx.ErrNotFinX}
	case status == 401 && c.user:
		return want{verdict: fault.Retry, is: finx.ErrUnauthorized}
	case status == 401:
		return want{verdict: fault.Retry, is: finx.ErrClientCredentials}
	case status == 423, status == 429, status == 503:
		return want{verdict: fault.WaitUntil}
	case status == 408, status == 425, status >= 500:
		return want{verdict: fault.Retry, ambiguous: c.token}
	case status == 413, status == 414, status == 431:
		return gone()
	}
	return elsewhere()
}

// The whole table of statuses, each call kind, over the wire.
func TestVerdictOfEveryStatus(t *testing.T) {
	var hits atomic.Int64
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		status, _ := strconv.Atoi(r.Header.Get("User-Agent"))
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	})
	for _, kind := range callers() {
		t.Run(kind.name, func(t *testing.T) {
			for status := 200; status <= 599; status++ {
				// The status asked for travels in a header the client lets us choose.
				c := newClient(t, base, func(cfg *finx.Config) {
					cfg.UserAgent = strconv.Itoa(status)
					cfg.Transport = http.DefaultTransport
				})
				hits.Store(0)
				err := kind.call(t.Context(), c)
				checkVerdict(t, strconv.Itoa(status), err, wantOfStatus(kind, status))
				if n := hits.Load(); n != 1 {
					t.Errorf("%d: %d requests, want one", status, n)
				}
			}
		})
	}
}

func checkVerdict(t *testing.T, name string, err error, w want) {
	t.Helper()
	if got := fault.Of(err); got != w.verdict {
		t.Errorf("%s: verdict %v, want %v (%v)", name, got, w.verdict, err)
	}
	if got := fault.IsAmbiguous(err); got != w.ambiguous {
		t.Errorf("%s: ambiguous %v, want %v (%v)", name, got, w.ambiguous, err)
	}
	for _, sentinel := range []error{finx.ErrInvalidGrant, finx.ErrUnauthorized, finx.ErrClientCredentials, finx.ErrNotFinX} {
		if errors.Is(err, sentinel) != errors.Is(w.is, sentinel) {
			t.Errorf("%s: errors.Is(%v, %q) = %v", name, err, sentinel, !errors.Is(w.is, sentinel))
		}
	}
	switch w.verdict {
	case fault.Done:
		if err != nil {
			t.Errorf("%s: done, but with the error %v", name, err)
		}
	case fault.GiveUp:
		if fault.ClassOf(err) != fault.Rejected {
			t.Errorf("%s: class %v, want rejected", name, fault.ClassOf(err))
		}
	case fault.Retry, fault.WaitUntil:
		if fault.DependencyOf(err) != fault.FinX {
			t.Errorf("%s: dependency %q, want finx", name, fault.DependencyOf(err))
		}
	}
}

// What finX's words change about a status.
func TestVerdictOfWords(t *testing.T) {
	code := func(n int) string {
		return fmt.Sprintf(`{"error":{"code":%d,"data":{},"description":"words","group":"client"}}`, n)
	}
	client := want{verdict: fault.Retry, is: finx.ErrClientCredentials}
	grant := want{verdict: fault.GiveUp, is: finx.ErrInvalidGrant}
	stale := want{verdict: fault.Retry, is: finx.ErrUnauthorized}
	tests := []struct {
		name   string
		status int
		body   string
		client want // create access, create sync, revoke
		token  want
		user   want
	}{
		{"invalid_grant", 400, `{"error":"invalid_grant","error_description":"no"}`, gone(), grant, gone()},
		{"invalid_grant with 401", 401, `{"error":"invalid_grant"}`, client, grant, stale},
		{"invalid_grant as code", 400, `{"error":{"code":"invalid_grant"}}`, gone(), grant, gone()},
		{"invalid_grant as name", 403, `{"error":{"code":null,"name":"invalid_grant"},"status":403}`, gone(), grant, gone()},
		{"invalid_grant in a 500 is no finding", 500, `{"error":"invalid_grant"}`, again(), perhaps(), again()},
		{"invalid_grant in a 429 is no finding", 429, `{"error":"invalid_grant"}`, later(), later(), later()},
		{"invalid_grant in a 503 is no finding", 503, `{"error":"invalid_grant"}`, later(), later(), later()},
		{"invalid_client", 401, `{"error":"invalid_client"}`, client, client, stale},
		{"invalid_client with 400", 400, `{"error":"invalid_client"}`, client, client, gone()},
		{"unauthorized_client", 400, `{"error":"unauthorized_client"}`, client, client, gone()},
		{"unsupported_token_type", 400, `{"error":"unsupported_token_type"}`, gone(), gone(), gone()},
		{"invalid_request", 400, `{"error":"invalid_request"}`, gone(), gone(), gone()},
		{"server_error", 400, `{"error":"server_error"}`, again(), perhaps(), again()},
		{"temporarily_unavailable", 400, `{"error":"temporarily_unavailable"}`, later(), later(), later()},
		{"1000", 400, code(1000), gone(), gone(), gone()},
		{"1001", 409, code(1001), gone(), gone(), gone()},
		{"1002", 404, code(1002), gone(), gone(), gone()},
		{"1003", 401, code(1003), client, grant, stale},
		{"1003 with 400", 400, code(1003), client, grant, stale},
		{"1003 as string", 400, `{"error":{"code":"1003"}}`, client, grant, stale},
		{"1003 with 403", 403, code(1003), client, client, stale},
		{"1003 with 422", 422, code(1003), client, client, stale},
		{"1003 in a 502 is no finding", 502, code(1003), again(), perhaps(), again()},
		{"1004", 401, code(1004), client, client, stale},
		{"1004 with 400", 400, code(1004), client, client, gone()},
		{"1006", 422, code(1006), gone(), gone(), gone()},
		{"1007", 403, code(1007), gone(), gone(), gone()},
		{"1008", 423, code(1008), later(), later(), later()},
		{"1008 with 409", 409, code(1008), later(), later(), later()},
		{"1010", 403, code(1010), later(), later(), later()},
		{"1011", 400, code(1011), gone(), gone(), gone()},
		{"1020", 400, code(1020), later(), later(), later()},
		{"1021", 400, code(1021), gone(), gone(), gone()},
		{"10000", 400, code(10000), gone(), gone(), gone()},
		{"19999", 400, code(19999), gone(), gone(), gone()},
		{"20000", 400, code(20000), again(), again(), again()},
		{"29999", 400, code(29999), again(), again(), again()},
		{"30000", 400, code(30000), again(), again(), again()},
		{"40000", 400, code(40000), again(), again(), again()},
		{"59999", 400, code(59999), again(), again(), again()},
		{"60000", 400, code(60000), gone(), gone(), gone()},
		{"web page 404", 404, "<html>not here</html>", elsewhere(), elsewhere(), elsewhere()},
		{"web page 403", 403, "\n Access denied", elsewhere(), elsewhere(), elsewhere()},
		{"web page 405", 405, "no", elsewhere(), elsewhere(), elsewhere()},
		{"web page 400", 400, "<html>", elsewhere(), elsewhere(), elsewhere()},
		{"web page 413", 413, "<html>", gone(), gone(), gone()},
		{"web page 502", 502, "<html>Bad Gateway</html>", again(), perhaps(), again()},
		{"odd JSON", 400, `{"error":[1,{"a":2}]}`, elsewhere(), elsewhere(), elsewhere()},
		{"group only", 400, `{"error":{"code":null,"group":"unknown","message":"m"},"status":400}`, gone(), gone(), gone()},
		{"description only", 404, `{"error":{"description":"Not Found"}}`, gone(), gone(), gone()},
		{"behind a byte order mark", 404, "\ufeff" + code(1002), gone(), gone(), gone()},
		{"cut off after the code", 400, `{"error":{"code":1008,"data":{"x":"` + strings.Repeat("y", 9000), later(), later(), later()},
	}
	for _, tc := range tests {
		base := serve(t, answer(tc.status, tc.body))
		c := newClient(t, base, nil)
		for _, kind := range callers() {
			w := tc.client
			if kind.token {
				w = tc.token
			} else if kind.user {
				w = tc.user
			}
			checkVerdict(t, kind.name+" "+tc.name, kind.call(t.Context(), c), w)
		}
	}
}

func gone() want      { return want{verdict: fault.GiveUp} }
func again() want     { return want{verdict: fault.Retry} }
func perhaps() want   { return want{verdict: fault.Retry, ambiguous: true} }
func later() want     { return want{verdict: fault.WaitUntil} }
func elsewhere() want { return want{verdict: fault.Retry, is: finx.ErrNotFinX} }

func TestWaitUntil(t *testing.T) {
	const fallback = 42 * time.Second
	tests := map[string]struct {
		status     int
		body       string
		retryAfter string
		want       time.Duration
	}{
		"seconds":                      {429, "", "90", 90 * time.Second},
		"none":                         {503, "", "", fallback},
		"zero":                         {503, "", "0", fallback},
		"nonsense":                     {503, "", "soon", fallback},
		"absurd":                       {429, "", "99999999999999999999", 24 * time.Hour},
		"a past date":                  {429, "", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), fallback},
		"a date":                       {429, "", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), time.Hour},
		"busy":                         {423, "", "", fallback},
		"too many syncs":               {400, `{"error":{"code":1020}}`, "", 6 * time.Hour},
		"too many syncs until":         {400, `{"error":{"code":1020}}`, "60", time.Minute},
		"locked user":                  {403, `{"error":{"code":1010}}`, "", 15 * time.Minute},
		"any repeatable that says so":  {502, "", "30", 30 * time.Second},
		"unknown bank trouble, so too": {400, `{"error":{"code":20001}}`, "30", 30 * time.Second},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, serve(t, answer(tc.status, tc.body, "Retry-After", tc.retryAfter)),
				func(cfg *finx.Config) { cfg.ThrottleDefault = fallback })
			before := time.Now()
			for _, kind := range callers() {
				err := kind.call(t.Context(), c)
				until, ok := fault.Until(err)
				if !ok {
					t.Fatalf("%s: no time in %v", kind.name, err)
				}
				// An HTTP date has whole seconds.
				if got := until.Sub(before); got < tc.want-2*time.Second || got > tc.want+10*time.Second {
					t.Errorf("%s: waits %v, want %v", kind.name, got, tc.want)
				}
				if fault.IsAmbiguous(err) != (kind.token && tc.status == 502) {
					t.Errorf("%s: ambiguous %v", kind.name, fault.IsAmbiguous(err))
				}
			}
		})
	}
}

func TestRefusalsIgnoreRetryAfter(t *testing.T) {
	c := newClient(t, serve(t, answer(400, `{"error":{"code":1000}}`, "Retry-After", "30")), nil)
	if _, err := c.Accounts(t.Context(), secretOf(canaryAccess)); fault.Of(err) != fault.GiveUp {
		t.Errorf("verdict %v, want give up", fault.Of(err))
	}
}
