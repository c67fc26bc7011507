package vaultstore_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

// lossy stands between client and Vault and loses answers to writes of records:
// lose of them after Vault took the write, drop of them before it saw it. With
// mute it loses answers to reads as well.
type lossy struct {
	lose, drop atomic.Int32
	mute       atomic.Bool
	writes     atomic.Int32
}

func (l *lossy) before(t *testing.T, s *vaulttest.Server) string {
	t.Helper()
	target, err := url.Parse(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	through := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	transport := &http.Transport{}
	through.Transport = transport
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		isRecord := strings.Contains(r.URL.Path, "/data/team/finx/")
		if isRecord && r.Method == http.MethodGet && l.mute.Load() {
			panic(http.ErrAbortHandler)
		}
		if !isRecord || r.Method == http.MethodGet {
			through.ServeHTTP(w, r)
			return
		}
		l.writes.Add(1)
		if l.drop.Add(-1) >= 0 {
			panic(http.ErrAbortHandler)
		}
		if l.lose.Add(-1) >= 0 {
			through.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		through.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { proxy.Close(); transport.CloseIdleConnections() })
	return proxy.URL
}

// TestLostAnswers: whatever happens to the answer, a write that reached Vault
// is not reported as lost to another writer.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	for name, tt := range map[string]struct {
		lose, drop int32
		mute       bool
		ambiguous  bool // else success
		stored     bool
	}{
		"one answer lost: the repeated write meets itself": {lose: 1, stored: true},
		"both answers lost: found by its id":               {lose: 2, stored: true},
		"first dropped":                                    {drop: 1, stored: true},
		"first dropped, second lost":                       {drop: 1, lose: 1, stored: true},
		"both dropped: it may still be under way":          {drop: 2, ambiguous: true},
		"both lost and nobody to ask":                      {lose: 2, mute: true, ambiguous: true, stored: true},
		"one lost, conflict with itself and nobody to ask": {lose: 1, mute: true, ambiguous: true, stored: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var net lossy
			addr := net.before(t, s)
			store := open(t, s, s.Mount(t), func(c *vaultstore.Config) { c.Address = addr })
			id, r := vaultstoretest.NewID(), vaultstore.Record{RefreshToken: secret.New("new")}
			if err := store.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			net.lose.Store(tt.lose)
			net.drop.Store(tt.drop)
			net.mute.Store(tt.mute)
			v, err := store.Put(t.Context(), id, r, 0)
			if tt.ambiguous != fault.IsAmbiguous(err) || !tt.ambiguous && (err != nil || v != 1) {
				t.Errorf("version %d, %v", v, err)
			}
			if errors.Is(err, vaultstore.ErrConflict) {
				t.Errorf("reported as lost to another writer: %v", err)
			}
			if got := net.writes.Load(); got != 2 {
				t.Errorf("%d writes on the wire", got)
			}
			net.mute.Store(false)
			_, v, err = store.Get(t.Context(), id)
			if tt.stored && (v != 1 || err != nil) || !tt.stored && !errors.Is(err, vaultstore.ErrNotFound) {
				t.Errorf("stored: version %d, %v", v, err)
			}
		})
	}
}

func TestLostAnswerThenAnotherWriter(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	var net lossy
	addr := net.before(t, s)
	mount := s.Mount(t)
	store := open(t, s, mount, func(c *vaultstore.Config) { c.Address = addr })
	id := vaultstoretest.NewID()
	if _, err := open(t, s, mount).Put(t.Context(), id, vaultstore.Record{RefreshToken: secret.New("theirs")}, 0); err != nil {
		t.Fatal(err)
	}
	net.lose.Store(1)
	if _, err := store.Put(t.Context(), id, vaultstore.Record{RefreshToken: secret.New("ours")}, 0); !errors.Is(err, vaultstore.ErrConflict) {
		t.Errorf("the write of another was taken for ours: %v", err)
	}
}
