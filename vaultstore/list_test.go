package vaultstore_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// longList answers a list with n ids, and breaks off before the end if cut.
func longList(n int, cut bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/connections") {
			_, _ = io.WriteString(w, `{"data":{}}`)
			return
		}
		_, _ = io.WriteString(w, `{"request_id":"r","data":{"keys":[`)
		for i := range n {
			if i > 0 {
				_, _ = io.WriteString(w, ",")
			}
			_, _ = fmt.Fprintf(w, `"%08x-0000-5000-8000-000000000000"`, i)
		}
		if cut {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "]}}\n")
	}
}

func listing(t *testing.T, handler http.Handler, observe func(guard.Answer)) *vaultstore.Store {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	store, err := vaultstore.New(vaultstore.Config{Address: server.URL, Token: secret.New("t"), Mount: "secret", Prefix: "finx", Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

// A million ids are 39 MB of JSON. Their number is no limit, and the list holds none of them.
func TestAListOfAMillionIsReadAsItComes(t *testing.T) {
	const ids = 1_000_000
	store := listing(t, longList(ids, false), nil)
	var before, most runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n, last := 0, ""
	err := store.List(t.Context(), func(id string) error {
		if id <= last {
			return fmt.Errorf("%s comes after %s", id, last)
		}
		if last, n = id, n+1; n == ids {
			runtime.GC()
			runtime.ReadMemStats(&most)
		}
		return nil
	})
	if err != nil || n != ids {
		t.Fatalf("%d ids, %v", n, err)
	}
	if grown := int64(most.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("%d bytes are held", grown)
	}
}

// A list that breaks off is an error, and none that speaks against Vault: records
// are read and written all the same.
func TestAListThatBreaksOff(t *testing.T) {
	var away atomic.Int64
	store := listing(t, longList(300_000, true), func(a guard.Answer) {
		if a.Kind == guard.Away {
			away.Add(1)
		}
	})
	n, started := 0, time.Now()
	err := store.List(t.Context(), func(string) error { n++; return nil })
	if err == nil || fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.Vault {
		t.Errorf("%d ids, %v", n, err)
	}
	if away.Load() != 0 {
		t.Error("Vault counts as away")
	}
	if took := time.Since(started); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}
