package vaultstore_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

// TestSupersededVersionsAreGoneWhateverAnOperatorDoes changes, between two
// writes, what decides how many versions Vault keeps. After the next write no
// token of an earlier one may be left.
func TestSupersededVersionsAreGoneWhateverAnOperatorDoes(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	type change struct {
		onKey    bool
		versions int
	}
	for name, tt := range map[string]struct {
		mount   int
		changes []change // one before each write from the second on
	}{
		"mount from one to none":       {1, []change{{false, 0}, {false, 0}, {false, 0}, {false, 0}}},
		"mount from one to five":       {1, []change{{false, 5}, {false, 5}, {false, 5}}},
		"mount from none to five":      {0, []change{{false, 0}, {false, 5}, {false, 5}}},
		"mount from none to twenty":    {0, []change{{false, 20}, {false, 20}}},
		"key without limit":            {0, []change{{true, 0}, {true, 0}, {true, 0}}},
		"key keeps five":               {0, []change{{true, 0}, {true, 5}}},
		"key keeps five, mount one":    {1, []change{{true, 5}, {true, 5}}},
		"mount to and fro":             {0, []change{{false, 5}, {false, 0}, {false, 1}, {false, 3}}},
		"mount from five to key limit": {5, []change{{false, 0}, {false, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount := s.Mount(t, map[string]any{"max_versions": tt.mount})
			store, id := open(t, s, mount), vaultstoretest.NewID()
			if err := store.Check(t.Context()); err != nil { // the figure is known, and will be wrong
				t.Fatal(err)
			}
			v := mustPut(t, store, id, 0)
			for _, c := range tt.changes {
				path := mount + "/config"
				if c.onKey {
					path = mount + "/metadata/team/finx/connections/" + id
				}
				s.Call(t, http.MethodPost, path, map[string]any{"max_versions": c.versions})
				v = mustPut(t, store, id, v)
				onlyNewest(t, s, mount, id, v)
			}
		})
	}
}

// TestLeftoversAreDestroyed: what an earlier write could not destroy goes with
// the next one, and the key has its limit from then on.
func TestLeftoversAreDestroyed(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount, id := s.Mount(t), vaultstoretest.NewID()
	for range 4 { // by a program that cared for nothing
		s.Call(t, http.MethodPost, mount+"/data/team/finx/connections/"+id, map[string]any{"data": map[string]any{"v": 1, "write_id": "x"}})
	}
	s.Call(t, http.MethodDelete, mount+"/data/team/finx/connections/"+id, nil) // soft: an undelete would bring it back
	store := open(t, s, mount)
	v := mustPut(t, store, id, 4)
	onlyNewest(t, s, mount, id, v)
	meta := vaulttest.Data(t, s.Call(t, http.MethodGet, mount+"/metadata/team/finx/connections/"+id, nil), "data")
	if got := meta["max_versions"]; got != float64(1) {
		t.Errorf("the key's limit is %v", got)
	}
}

// TestAMarkWaitsForNoDestruction: the write that precedes a call looks at nothing
// else, and the one that follows it destroys what both superseded.
func TestAMarkWaitsForNoDestruction(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount, id := s.Mount(t, map[string]any{"max_versions": 5}), vaultstoretest.NewID()
	store := open(t, s, mount)
	if err := store.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	put := func(r vaultstore.Record, cas vaultstore.Version) vaultstore.Version {
		t.Helper()
		v, err := store.Put(t.Context(), id, r, cas)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	held := vaultstore.Record{RefreshToken: secret.New("r-1")}
	marked := held
	marked.Pending = &vaultstore.Pending{Kind: "refresh", Holder: "h", SHA256: held.RefreshToken.SHA256()}
	v := put(marked, put(held, 0))
	got := s.Call(t, http.MethodGet, mount+"/data/team/finx/connections/"+id+"?version=1", nil)
	if vaulttest.Data(t, vaulttest.Data(t, got, "data"), "data")["refresh_token"] != "r-1" {
		t.Error("the mark destroyed the version before it, which has the same token: that costs time before the call")
	}
	v = put(vaultstore.Record{RefreshToken: secret.New("r-2")}, v)
	onlyNewest(t, s, mount, id, v)
}

// TestBlindDestruction: without the right to look at the metadata the versions
// a mount may hold are destroyed unseen.
func TestBlindDestruction(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount, id := s.Mount(t, map[string]any{"max_versions": 5}), vaultstoretest.NewID()
	rules := vaulttest.KV2Rules(t, mount, "team/finx") + `path "` + mount + `/metadata/team/finx/connections/+" { capabilities = ["create", "update"] }`
	store := open(t, s, mount, func(c *vaultstore.Config) {
		c.Token = secret.New(s.NewToken(t, map[string]any{"policies": []string{s.Policy(t, rules)}}))
	})
	v := vaultstore.Version(0)
	for range 4 {
		v = mustPut(t, store, id, v)
		onlyNewest(t, s, mount, id, v)
	}
}

// TestRefusedDestructionIsSeen: the write has succeeded and stays so, and the
// remainder is counted and logged.
func TestRefusedDestructionIsSeen(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount, id := s.Mount(t, map[string]any{"max_versions": 5}), vaultstoretest.NewID()
	rules := vaulttest.KV2Rules(t, mount, "team/finx") + `path "` + mount + `/destroy/*" { capabilities = ["deny"] }` +
		"\n" + `path "` + mount + `/destroy/team/finx/*" { capabilities = ["deny"] }`
	var m meter
	store := open(t, s, mount, func(c *vaultstore.Config) {
		c.Token = secret.New(s.NewToken(t, map[string]any{"policies": []string{s.Policy(t, rules)}}))
		m = metered(c)
	})
	mustPut(t, store, id, mustPut(t, store, id, 0))
	if got := m.value(t, "superseded_kept_total"); got != 1 {
		t.Errorf("%v counted", got)
	}
}

// TestNoExtraWrites: where Vault itself keeps one version, a write is one write.
func TestNoExtraWrites(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	for name, config := range map[string]map[string]any{
		"mount keeps one": {"max_versions": 1},
		"key keeps one":   {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount, id := s.Mount(t, config), vaultstoretest.NewID()
			seen := &requests{}
			store := open(t, s, mount, seen.between(t, s))
			v := mustPut(t, store, id, 0)
			seen.take()
			for range 3 {
				v = mustPut(t, store, id, v)
				if got := seen.take(); got != 1 {
					t.Errorf("version %d took %d writes", v, got)
				}
			}
		})
	}
}

// TestNewRecordOutlivesTheLookOfTheOld: a record that is erased and made again
// between a write and its look has versions below the one written, and they are
// not superseded.
func TestNewRecordOutlivesTheLookOfTheOld(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount, id := s.Mount(t), vaultstoretest.NewID()
	key := "/team/finx/connections/" + id
	var looks atomic.Int32
	seen := &requests{before: func(req *http.Request) {
		if req.Method != http.MethodGet || req.URL.Path != "/v1/"+mount+"/metadata"+key || looks.Add(1) != 2 {
			return
		}
		s.Call(t, http.MethodDelete, mount+"/metadata"+key, nil)
		s.Call(t, http.MethodPost, mount+"/data"+key, map[string]any{"data": map[string]any{"write_id": "new"}})
	}}
	store := open(t, s, mount, seen.between(t, s))
	mustPut(t, store, id, mustPut(t, store, id, mustPut(t, store, id, 0)))
	if got := looks.Load(); got != 2 {
		t.Fatalf("%d looks", got)
	}
	onlyNewest(t, s, mount, id, 1)
}

// requests counts what is written through a proxy.
type requests struct {
	before func(*http.Request) // may be nil

	mu     sync.Mutex
	writes int
}

func (r *requests) between(t *testing.T, s *vaulttest.Server) func(*vaultstore.Config) {
	t.Helper()
	target, err := url.Parse(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(target) },
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r.before != nil {
			r.before(req)
		}
		if req.Method != http.MethodGet {
			r.mu.Lock()
			r.writes++
			r.mu.Unlock()
		}
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	return func(c *vaultstore.Config) { c.Address = server.URL }
}

func (r *requests) take() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.writes
	r.writes = 0
	return n
}

func mustPut(t *testing.T, store *vaultstore.Store, id string, cas vaultstore.Version) vaultstore.Version {
	t.Helper()
	v, err := store.Put(t.Context(), id, vaultstore.Record{RefreshToken: secret.New("r")}, cas)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// onlyNewest fails when any version before newest can be read, undeleted or not.
func onlyNewest(t *testing.T, s *vaulttest.Server, mount, id string, newest vaultstore.Version) {
	t.Helper()
	key := "/team/finx/connections/" + id
	for old := vaultstore.Version(1); old < newest; old++ {
		s.Call(t, http.MethodPost, mount+"/undelete"+key, map[string]any{"versions": []vaultstore.Version{old}})
		status, answer, err := s.Try(t.Context(), s.Token, http.MethodGet, fmt.Sprintf("%s/data%s?version=%d", mount, key, old), nil)
		if status != http.StatusNotFound || err != nil {
			t.Errorf("version %d after the write of %d: status %d, %v, %v", old, newest, status, answer, err)
		}
	}
	status, answer, err := s.Try(t.Context(), s.Token, http.MethodGet, mount+"/data"+key, nil)
	if status != http.StatusOK || err != nil || !bytes.Contains(fmt.Append(nil, answer), []byte("write_id")) {
		t.Errorf("the newest: status %d, %v", status, err)
	}
}
