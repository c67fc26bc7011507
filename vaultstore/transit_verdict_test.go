package vaultstore_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// scriptedTransit answers calls of the transit engine by script and everything
// else as a healthy Vault would.
func scriptedTransit(t *testing.T, script http.HandlerFunc) *vaultstore.Store {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/auth/token/lookup-self", answer(200, `{"data":{"ttl":0,"renewable":false}}`))
	mux.HandleFunc("/v1/transit/", script)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	store, err := vaultstore.New(vaultstore.Config{
		Address: server.URL, Token: secret.New(theToken), Timeout: 2 * time.Second, TransitKey: "k",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

// quotes answers in the words of the request, cut as a parser might.
func quotes(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		answer(status, errorsBody("cannot make sense of "+strings.TrimPrefix(string(body), `{"ciphertext":"vault:`)))(w, r)
	}
}

// TestTransitVerdicts is what is made of each answer to a request for a data key
// and to one that opens it.
func TestTransitVerdicts(t *testing.T) {
	t.Parallel()
	const sealed = "the-sealed-key"
	type want struct {
		verdict fault.Verdict
		is      error
		tries   int32
	}
	retry := func(tries int32) want { return want{fault.Retry, nil, tries} }
	no, closed := want{fault.GiveUp, vaultstore.ErrNoTransit, 1}, want{fault.GiveUp, vaultstore.ErrCannotOpen, 1}
	for name, tt := range map[string]struct {
		answer        http.HandlerFunc
		datakey, open want
	}{
		"400 no key":          {answer(400, errorsBody("encryption key not found")), no, no},
		"400 derived key":     {answer(400, errorsBody("missing 'context' for key derivation; the key was created using a derived key")), no, no},
		"400 signing key":     {answer(400, errorsBody("message encryption not supported for key type ed25519")), no, closed},
		"400 not of this key": {answer(400, errorsBody("cipher: message authentication failed")), no, closed},
		"400 too old":         {answer(400, errorsBody("ciphertext or signature version is disallowed by policy (too old)")), no, closed},
		"400 too new":         {answer(400, errorsBody("invalid ciphertext: version is too new")), no, retry(1)},
		"400 never heard of":  {answer(400, errorsBody("x")), no, closed},
		"400 that quotes":     {quotes(400), no, closed},
		"400 of a proxy":      {answer(400, "<html>"+sealed), retry(1), retry(1)},
		"404 no mount":        {answer(404, errorsBody(`no handler for route "transit/decrypt/k". route entry not found.`)), no, no},
		"404 another engine":  {answer(404, `{"errors":[]}`), no, no},
		"404 of a proxy":      {answer(404, "default backend"), retry(1), retry(1)},
		"405":                 {answer(405, errorsBody("unsupported operation")), no, no},
		"403 policy":          {answer(403, errorsBody("permission denied")), no, no},
		"412 stale standby":   {answer(412, errorsBody("required index state not present")), retry(2), retry(2)},
		"429 quota":           {answer(429, errorsBody("rate limit quota exceeded")), want{fault.WaitUntil, nil, 1}, want{fault.WaitUntil, nil, 1}},
		"472 DR standby":      {answer(472, errorsBody("")), retry(1), retry(1)},
		"473 perf standby":    {answer(473, errorsBody("")), retry(1), retry(1)},
		"500":                 {answer(500, errorsBody("internal error")), retry(2), retry(2)},
		"500 that quotes":     {quotes(500), retry(2), retry(2)},
		"501 uninitialised":   {answer(501, errorsBody("Vault is not initialized")), retry(1), retry(1)},
		"502 proxy":           {answer(502, "<html>"+sealed), retry(2), retry(2)},
		"503 sealed":          {answer(503, errorsBody("Vault is sealed")), retry(2), retry(2)},
		"504":                 {answer(504, ""), retry(2), retry(2)},
		"hung up":             {hangUp, retry(2), retry(2)},
		"200 nonsense":        {answer(200, "<html>"+sealed), retry(1), retry(1)},
		"200 other types":     {answer(200, fmt.Sprintf(`{"data":{"plaintext":%q,"ciphertext":7}}`, sealed)), retry(1), retry(1)},
		"200 short key":       {answer(200, `{"data":{"plaintext":"AAAA","ciphertext":"vault:v1:AAAA"}}`), retry(1), closed},
		"204 KV v1":           {answer(204, ""), no, no},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tries atomic.Int32
			store := scriptedTransit(t, func(w http.ResponseWriter, r *http.Request) { tries.Add(1); tt.answer(w, r) })
			check := func(op string, err error, w want) {
				t.Helper()
				if err == nil {
					t.Fatalf("%s: no error", op)
				}
				if got := fault.Of(err); got != w.verdict || tries.Load() != w.tries || fault.IsAmbiguous(err) {
					t.Errorf("%s: verdict %v after %d tries, want %v after %d: %v", op, got, tries.Load(), w.verdict, w.tries, err)
				}
				tries.Store(0)
				for _, target := range []error{vaultstore.ErrNoTransit, vaultstore.ErrCannotOpen} {
					if errors.Is(err, target) != errors.Is(w.is, target) {
						t.Errorf("%s: %v, want %v", op, err, w.is)
					}
				}
				if dep := fault.DependencyOf(err); w.verdict != fault.GiveUp && dep != fault.Vault {
					t.Errorf("%s: dependency %q", op, dep)
				}
				if text := err.Error(); strings.Contains(text, "the-") || strings.Contains(text, "\n") || len(text) > 700 {
					t.Errorf("%s: text %q", op, text)
				}
			}
			_, err := store.OpenKey(t.Context(), "vault:v1:"+sealed)
			check("openkey", err, tt.open)
			_, _, err = store.DataKey(t.Context())
			check("datakey", err, tt.datakey)
		})
	}
}
