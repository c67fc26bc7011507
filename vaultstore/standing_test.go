package vaultstore_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

// ear notes what is said about Vault.
type ear struct {
	mu    sync.Mutex
	heard []guard.Answer
}

func (e *ear) hear(a guard.Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, a)
}

// one returns the only answer since the last call.
func (e *ear) one(t *testing.T) guard.Answer {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.heard) != 1 {
		t.Fatalf("one operation says %+v", e.heard)
	}
	a := e.heard[0]
	e.heard = nil
	return a
}

// says compares an answer with what was expected of it.
func says(t *testing.T, what string, a guard.Answer, kind guard.Kind, why string) {
	t.Helper()
	if a.Kind != kind || (a.Why == "") != (why == "") || !strings.Contains(a.Why, why) {
		t.Errorf("%s: %+v, want kind %d because %q", what, a, kind, why)
	}
	if strings.Contains(a.Why, "the-") || strings.Contains(a.Why, "\n") || strings.Contains(a.Why, "connections/") || len(a.Why) > 300 {
		t.Errorf("%s: no line for people: %q", what, a.Why)
	}
}

// silent hears a request out and says nothing until the client has gone.
func silent(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// listened is a store on a server that answers calls for records by script and
// everything else as a healthy Vault would.
func listened(t *testing.T, records http.HandlerFunc, change ...func(*vaultstore.Config)) (*vaultstore.Store, *ear) {
	t.Helper()
	_, server := scripted(t, records)
	e := &ear{}
	cfg := vaultstore.Config{Address: server.URL, Token: secret.New(theToken), Timeout: 300 * time.Millisecond, Observe: e.hear}
	for _, f := range change {
		f(&cfg)
	}
	store, err := vaultstore.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store, e
}

// get reads a record and leaves it to the ear what came of it.
func get(ctx context.Context, store *vaultstore.Store, id string) {
	_, _, _ = store.Get(ctx, id) //nolint:dogsled // what is said about Vault is the subject here
}

// What each answer to a call for a record says about Vault.
func TestAnswersSaySomethingAboutVault(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		kind   guard.Kind
		why    string
	}{
		"400 other":         {answer(400, errorsBody("missing field")), guard.Alive, ""},
		"400 proxy":         {answer(400, "<html>"), guard.Away, "not Vault's"},
		"403 policy":        {answer(403, errorsBody("permission denied")), guard.Away, "policies forbid"},
		"404 no mount":      {answer(404, errorsBody(`no handler for route`)), guard.Away, "no handler"},
		"405 no such thing": {answer(405, errorsBody("unsupported operation")), guard.Away, "status 405"},
		"412 stale standby": {answer(412, errorsBody("required index state not present")), guard.Away, "status 412"},
		"413":               {answer(413, errorsBody("request body too large")), guard.Alive, ""},
		"429":               {answer(429, errorsBody("quota")), guard.Throttled, "Vault asks to wait"},
		"472":               {answer(472, errorsBody("")), guard.Away, "status 472"},
		"500":               {answer(500, errorsBody("internal error")), guard.Away, "internal error"},
		"500 too large":     {answer(500, errorsBody("put failed due to value being too large; got 2, max: 1")), guard.Alive, ""},
		"501":               {answer(501, errorsBody("Vault is not initialized")), guard.Away, "not initialized"},
		"502 proxy":         {answer(502, "<html>"+theSecret), guard.Away, "status 502"},
		"503 sealed":        {answer(503, errorsBody("Vault is sealed")), guard.Away, "Vault is sealed"},
		"hung up":           {hangUp, guard.Away, "no answer of Vault"},
		"200 nonsense":      {answer(200, "<html>"+theSecret), guard.Away, "no answer of Vault"},
		"200 KV v1":         {answer(200, `{"data":{"access_token":"x"}}`), guard.Away, "without a version"},
		"no answer":         {silent, guard.Away, "no answer of Vault"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, e := listened(t, tt.answer)
			_, _, err := store.Get(t.Context(), vaultstoretest.NewID())
			says(t, "get", e.one(t), tt.kind, tt.why)
			if _, putErr := store.Put(t.Context(), vaultstoretest.NewID(), vaultstore.Record{RefreshToken: secret.New(theSecret)}, 1); err == nil || putErr == nil {
				t.Errorf("no error: %v, %v", err, putErr)
			}
			says(t, "put", e.one(t), tt.kind, tt.why)
		})
	}
}

func TestWorkIsAnAnswerToo(t *testing.T) {
	t.Parallel()
	for name, records := range map[string]http.HandlerFunc{
		"none there":   answer(404, `{"errors":[]}`),
		"deleted":      answer(404, `{"data":{"data":null,"metadata":{"version":3}}}`),
		"there":        answer(200, `{"data":{"data":{"v":1},"metadata":{"version":1}}}`),
		"newer layout": answer(200, `{"data":{"data":{"v":2},"metadata":{"version":1}}}`),
		"no base64":    answer(200, `{"data":{"data":{"v":1,"encoding":"base64","refresh_token":"!"},"metadata":{"version":1}}}`),
	} {
		store, e := listened(t, records)
		get(t.Context(), store, vaultstoretest.NewID())
		says(t, name, e.one(t), guard.Alive, "")
	}
	store, e := listened(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			answer(200, `{"data":{"data":{"v":1,"write_id":"another"},"metadata":{"version":7}}}`)(w, r)
			return
		}
		answer(400, errorsBody("check-and-set parameter did not match the current version"))(w, r)
	})
	if _, err := store.Put(t.Context(), vaultstoretest.NewID(), vaultstore.Record{}, 1); !errors.Is(err, vaultstore.ErrConflict) {
		t.Errorf("put: %v", err)
	}
	says(t, "conflict", e.one(t), guard.Alive, "")
}

// A lost write that the look afterwards finds missing is a failure, although the
// look succeeded: only writes show that Vault takes writes.
func TestTheLookAfterALostWriteSaysNothing(t *testing.T) {
	t.Parallel()
	store, e := listened(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			answer(404, `{"errors":[]}`)(w, r)
			return
		}
		answer(500, errorsBody("no quorum"))(w, r)
	})
	for range 3 {
		_, _ = store.Put(t.Context(), vaultstoretest.NewID(), vaultstore.Record{}, 1)
		says(t, "put", e.one(t), guard.Away, "no quorum")
	}
}

func TestWhatWasNeverSentSaysNothing(t *testing.T) {
	t.Parallel()
	store, e := listened(t, answer(200, `{}`), func(c *vaultstore.Config) { c.MaxRecordBytes = 10 })
	get(t.Context(), store, "no id")
	says(t, "malformed", e.one(t), guard.Unknown, "")
	_, _ = store.Put(t.Context(), vaultstoretest.NewID(), vaultstore.Record{RefreshToken: secret.New(theSecret)}, 1)
	says(t, "too large", e.one(t), guard.Unknown, "")
	if _, _, err := store.DataKey(t.Context()); !errors.Is(err, vaultstore.ErrNoTransit) {
		t.Error(err)
	}
	says(t, "no transit key", e.one(t), guard.Unknown, "")
	store, e = listened(t, silent, func(c *vaultstore.Config) { c.Timeout = time.Minute })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	get(ctx, store, vaultstoretest.NewID())
	says(t, "the caller went away", e.one(t), guard.Unknown, "")
}

func TestAQuotaIsNamedOnlyWhenVaultDoes(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{"": 0, "0": 0, "30": 30 * time.Second, "soon": 0} {
		store, e := listened(t, answer(429, errorsBody("quota"), "Retry-After", header))
		get(t.Context(), store, vaultstoretest.NewID())
		a := e.one(t)
		says(t, header, a, guard.Throttled, "status 429: quota")
		if wait := time.Until(a.Until); a.Until.IsZero() != (want == 0) || want > 0 && (wait > want || wait < want-5*time.Second) {
			t.Errorf("Retry-After %q: until %v", header, a.Until)
		}
	}
}

// A refused login is as good as no Vault, whatever the status.
func TestALoginThatFailsSaysSo(t *testing.T) {
	t.Parallel()
	for status, why := range map[int]string{400: "invalid role or secret ID", 403: "invalid role or secret ID", 503: "invalid role or secret ID"} {
		server := httptest.NewServer(answer(status, errorsBody("invalid role or secret ID")))
		t.Cleanup(server.Close)
		e := &ear{}
		store, err := vaultstore.New(vaultstore.Config{
			Address: server.URL, Auth: vaultstore.AuthAppRole, RoleID: "the-role", SecretID: secret.New("the-secret"), Observe: e.hear,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		get(t.Context(), store, vaultstoretest.NewID())
		says(t, http.StatusText(status), e.one(t), guard.Away, "no login to Vault: status")
		get(t.Context(), store, vaultstoretest.NewID()) // while the login cools down
		says(t, http.StatusText(status), e.one(t), guard.Away, why)
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		if err := store.Run(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if len(e.heard) == 0 || e.heard[0].Kind != guard.Away {
			t.Errorf("%d: in the background: %+v", status, e.heard)
		}
	}
	e := &ear{}
	gone := t.TempDir() + "/id"
	if err := os.WriteFile(gone, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := vaultstore.New(vaultstore.Config{Address: "http://127.0.0.1:1", Auth: vaultstore.AuthAppRole, RoleID: "r", SecretIDFile: gone, Observe: e.hear})
	if err != nil || os.Remove(gone) != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	get(t.Context(), store, vaultstoretest.NewID())
	says(t, "no secret id", e.one(t), guard.Away, "reading the secret id file")
}

// The real one, from work to seal and back.
func TestARealVaultSaysWhetherItWorks(t *testing.T) {
	t.Parallel()
	s := vaulttest.StartOwn(t, "inmem")
	e := &ear{}
	store := open(t, s, s.Mount(t), func(c *vaultstore.Config) { c.Observe = e.hear })
	id := vaultstoretest.NewID()
	if err := store.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(e.heard) != 0 {
		t.Errorf("a check that went well says %+v", e.heard)
	}
	if _, err := store.Put(t.Context(), id, vaultstore.Record{}, 0); err != nil {
		t.Fatal(err)
	}
	says(t, "put", e.one(t), guard.Alive, "")
	s.Seal(t)
	get(t.Context(), store, id)
	says(t, "get", e.one(t), guard.Away, "sealed")
	_, _ = store.Put(t.Context(), id, vaultstore.Record{}, 1)
	says(t, "put", e.one(t), guard.Away, "sealed")
	if store.Check(t.Context()) == nil {
		t.Error("a sealed Vault passes the check")
	}
	says(t, "check", e.one(t), guard.Away, "sealed")
	s.Unseal(t)
	get(t.Context(), store, id)
	says(t, "get", e.one(t), guard.Alive, "")
}
