package vaultstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

const (
	theToken  = "hvs.the-vault-token"
	theSecret = "the-refresh-token"
)

// scripted is a server that answers calls for records by script and everything
// else as a healthy Vault would.
func scripted(t *testing.T, records http.HandlerFunc) (*vaultstore.Store, *httptest.Server) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/auth/token/lookup-self", answer(200, `{"data":{"ttl":0,"renewable":false}}`))
	mux.HandleFunc("/v1/sys/internal/ui/mounts/secret", answer(200, `{"data":{"type":"kv","options":{"version":"2"}}}`))
	mux.HandleFunc("/v1/secret/config", answer(200, `{"data":{"max_versions":1}}`))
	mux.HandleFunc("/v1/secret/data/", records)
	mux.HandleFunc("/v1/secret/metadata/", records)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	store, err := vaultstore.New(vaultstore.Config{Address: server.URL, Token: secret.New(theToken), Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store, server
}

func answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}
}

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func errorsBody(text string) string { return fmt.Sprintf(`{"errors":[%q]}`, text) }

// TestVerdicts is the retry policy: what is made of each answer to a read and
// to a write, and how often the call was on the wire.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	type want struct {
		verdict   fault.Verdict
		ambiguous bool
		tries     int32
	}
	retry := func(tries int32) want { return want{fault.Retry, false, tries} }
	unsure := func(tries int32) want { return want{fault.Retry, true, tries} }
	for name, tt := range map[string]struct {
		answer      http.HandlerFunc
		read, write want
		is          error
		text        string
	}{
		"400 other":          {answer(400, errorsBody("check-and-set parameter required for this call")), retry(1), retry(1), nil, "check-and-set parameter required"},
		"403 policy":         {answer(403, errorsBody("1 error occurred:\n\t* permission denied\n\n")), retry(1), retry(1), nil, "policies forbid"},
		"404 no mount":       {answer(404, errorsBody(`no handler for route "secret/data/x"`)), retry(1), retry(1), nil, "nothing is mounted"},
		"405":                {answer(405, errorsBody("unsupported operation")), retry(1), retry(1), nil, "status 405"},
		"412 stale standby":  {answer(412, errorsBody("required index state not present")), retry(2), retry(2), nil, "status 412"},
		"413":                {answer(413, errorsBody("request body too large")), want{fault.GiveUp, false, 1}, want{fault.GiveUp, false, 1}, vaultstore.ErrTooLarge, ""},
		"429 quota":          {answer(429, errorsBody("rate limit quota exceeded")), want{fault.WaitUntil, false, 1}, want{fault.WaitUntil, false, 1}, nil, "quota"},
		"472 DR standby":     {answer(472, errorsBody("")), retry(1), retry(1), nil, "status 472"},
		"473 perf standby":   {answer(473, errorsBody("")), retry(1), retry(1), nil, "status 473"},
		"500":                {answer(500, errorsBody("internal error")), retry(2), unsure(2), nil, "internal error"},
		"500 raft too large": {answer(500, errorsBody("put failed due to value being too large; got 2, max: 1")), want{fault.GiveUp, false, 2}, want{fault.GiveUp, false, 2}, vaultstore.ErrTooLarge, ""},
		"500 JSON too large": {answer(500, errorsBody("JSON string value exceeds allowed length")), want{fault.GiveUp, false, 2}, want{fault.GiveUp, false, 2}, vaultstore.ErrTooLarge, ""},
		"501 uninitialised":  {answer(501, errorsBody("Vault is not initialized")), retry(1), unsure(1), nil, "not initialized"},
		"502 proxy":          {answer(502, "<html>"+theSecret), retry(2), unsure(2), nil, "not Vault's"},
		"503 sealed":         {answer(503, errorsBody("Vault is sealed")), retry(2), retry(2), nil, "sealed"},
		"504":                {answer(504, ""), retry(2), unsure(2), nil, "status 504"},
		"hung up":            {hangUp, retry(2), unsure(2), nil, "EOF"},
		"200 nonsense":       {answer(200, "<html>"+theSecret), retry(1), unsure(1), nil, ""},
		"200 KV v1":          {answer(200, `{"data":{"access_token":"x"}}`), retry(1), unsure(1), nil, ""},
		"long words":         {answer(400, errorsBody(strings.Repeat("x", 5000))), retry(1), retry(1), nil, "…"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tries atomic.Int32
			store, _ := scripted(t, func(w http.ResponseWriter, r *http.Request) { tries.Add(1); tt.answer(w, r) })
			check := func(op string, err error, w want) {
				t.Helper()
				if err == nil {
					t.Fatalf("%s: no error", op)
				}
				if got := (want{fault.Of(err), fault.IsAmbiguous(err), tries.Swap(0)}); got != w {
					t.Errorf("%s: got %+v, want %+v: %v", op, got, w, err)
				}
				if tt.is != nil && !errors.Is(err, tt.is) || errors.Is(err, vaultstore.ErrNotFound) {
					t.Errorf("%s: %v", op, err)
				}
				if dep := fault.DependencyOf(err); w.verdict != fault.GiveUp && dep != fault.Vault {
					t.Errorf("%s: dependency %q", op, dep)
				}
				if text := err.Error(); !strings.Contains(text, tt.text) || strings.Contains(text, "the-") || strings.Contains(text, "\n") || len(text) > 700 {
					t.Errorf("%s: text %q", op, text)
				}
			}
			_, _, err := store.Get(t.Context(), vaultstoretest.NewID())
			check("get", err, tt.read)
			_, err = store.Erase(t.Context(), vaultstoretest.NewID())
			if name != "200 KV v1" { // has no versions to count
				check("erase", err, tt.read) // it reads first
			}
			tries.Store(0)
			store, _ = scripted(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet { // the look after an unsure write
					answer(404, `{"errors":[]}`)(w, r)
					return
				}
				tries.Add(1)
				tt.answer(w, r)
			})
			_, err = store.Put(t.Context(), vaultstoretest.NewID(), vaultstore.Record{RefreshToken: secret.New(theSecret)}, 1)
			check("put", err, tt.write)
		})
	}
}

func TestQuotaNamesItsTime(t *testing.T) {
	t.Parallel()
	store, _ := scripted(t, answer(429, errorsBody("quota"), "Retry-After", "30"))
	_, _, err := store.Get(t.Context(), vaultstoretest.NewID())
	until, ok := fault.Until(err)
	if wait := time.Until(until); !ok || wait < 28*time.Second || wait > 30*time.Second {
		t.Errorf("wait %v: %v", wait, err)
	}
}

func TestSilence(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	store, server := scripted(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, _, err := store.Get(ctx, vaultstoretest.NewID())
	if !errors.Is(err, context.DeadlineExceeded) || fault.Of(err) != fault.Retry || fault.IsAmbiguous(err) {
		t.Errorf("read: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = store.Put(ctx, vaultstoretest.NewID(), vaultstore.Record{}, 1)
	if !errors.Is(err, context.DeadlineExceeded) || !fault.IsAmbiguous(err) {
		t.Errorf("write: %v", err)
	}
	server.CloseClientConnections()
	_ = server.Listener.Close()
	_, err = store.Put(t.Context(), vaultstoretest.NewID(), vaultstore.Record{}, 1)
	if err == nil || fault.Of(err) != fault.Retry || fault.IsAmbiguous(err) {
		t.Errorf("nobody listens, so nothing was written: %v", err)
	}
}

func TestDeletedAndOddRecords(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer   http.HandlerFunc
		version  vaultstore.Version
		notFound bool
	}{
		"never there":       {answer(404, `{"errors":[]}`), 0, true},
		"deleted, 404":      {answer(404, `{"data":{"data":null,"metadata":{"version":3,"deletion_time":"2026-11-22T12:00:00Z"}}}`), 3, true},
		"deleted, 200":      {answer(200, `{"data":{"data":null,"metadata":{"version":4}}}`), 4, true},
		"unknown encoding":  {answer(200, `{"data":{"data":{"v":1,"encoding":"rot13"},"metadata":{"version":1}}}`), 0, false},
		"broken base64":     {answer(200, `{"data":{"data":{"v":1,"encoding":"base64","refresh_token":"`+theSecret+`!"},"metadata":{"version":1}}}`), 0, false},
		"another shape":     {answer(200, `{"data":{"data":{"v":1,"rotation":"`+theSecret+`"},"metadata":{"version":1}}}`), 0, false},
		"without a version": {answer(200, `{"data":{"data":{"v":1}}}`), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, _ := scripted(t, tt.answer)
			_, v, err := store.Get(t.Context(), vaultstoretest.NewID())
			if err == nil || v != tt.version || errors.Is(err, vaultstore.ErrNotFound) != tt.notFound || fault.Of(err) != fault.Retry {
				t.Errorf("version %d, %v", v, err)
			}
			if strings.Contains(err.Error(), theSecret) {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}
