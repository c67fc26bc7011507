package vaultstore_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

func mustWait(t *testing.T, what string, err error, ambiguous bool, text string) {
	t.Helper()
	if err == nil || fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.Vault ||
		fault.IsAmbiguous(err) != ambiguous || !strings.Contains(err.Error(), text) || errors.Is(err, vaultstore.ErrNotFound) {
		t.Errorf("%s: verdict %v, ambiguous %t, %v", what, fault.Of(err), fault.IsAmbiguous(err), err)
	}
}

func TestSealedVault(t *testing.T) {
	t.Parallel()
	s := vaulttest.StartOwn(t, "inmem")
	store := open(t, s, s.Mount(t))
	id, want := vaultstoretest.NewID(), vaultstore.Record{RefreshToken: secret.New("kept")}
	if _, err := store.Put(t.Context(), id, want, 0); err != nil {
		t.Fatal(err)
	}
	s.Seal(t)
	started := time.Now()
	_, _, err := store.Get(t.Context(), id)
	mustWait(t, "get", err, false, "sealed")
	_, err = store.Put(t.Context(), id, want, 1)
	mustWait(t, "put", err, false, "sealed")
	_, err = vaultstoretest.IDs(t.Context(), store)
	mustWait(t, "list", err, false, "sealed")
	_, err = store.Erase(t.Context(), id)
	mustWait(t, "erase", err, false, "sealed")
	mustWait(t, "check", store.Check(t.Context()), false, "sealed")
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("five refusals took %v: the lanes would hang on a sealed Vault", took)
	}
	fresh, err := vaultstore.New(vaultstore.Config{
		Address: s.Addr, Auth: vaultstore.AuthAppRole, RoleID: "role", SecretID: secret.New("secret"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fresh.Close)
	mustWait(t, "logging in", fresh.Check(t.Context()), false, "sealed")
	s.Unseal(t)
	if got, v, err := store.Get(t.Context(), id); !reflect.DeepEqual(got, want) || v != 1 || err != nil {
		t.Errorf("after unsealing: version %d, %v", v, err)
	}
}

func TestRunOutlivesASealedVault(t *testing.T) {
	t.Parallel()
	s := vaulttest.StartOwn(t, "inmem")
	_, login := byAppRole(t, s, "secret", nil)
	var m meter
	store := open(t, s, "secret", login, func(c *vaultstore.Config) { m = metered(c) })
	s.Seal(t)
	run(t, store)
	m.until(t, 2, "logins_total", "error")
	s.Unseal(t)
	m.until(t, 1, "logins_total", "ok")
	if _, err := store.Put(t.Context(), vaultstoretest.NewID(), vaultstore.Record{}, 0); err != nil {
		t.Error(err)
	}
}

func TestFrozenVault(t *testing.T) {
	t.Parallel()
	s := vaulttest.StartOwn(t, "inmem")
	store := open(t, s, s.Mount(t), func(c *vaultstore.Config) { c.Timeout = 300 * time.Millisecond })
	id := vaultstoretest.NewID()
	if _, err := store.Put(t.Context(), id, vaultstore.Record{}, 0); err != nil {
		t.Fatal(err)
	}
	s.Stop(t)
	_, _, err := store.Get(t.Context(), id)
	mustWait(t, "get", err, false, context.DeadlineExceeded.Error())
	_, err = store.Put(t.Context(), id, vaultstore.Record{Rotation: 1}, 1)
	mustWait(t, "put", err, true, context.DeadlineExceeded.Error())
	s.Resume(t)
	// Vault takes the frozen write when it thaws, so "may have been written" is
	// the truth: only a second look tells.
	for {
		r, v, err := store.Get(t.Context(), id)
		if err == nil {
			if (v == 2) != (r.Rotation == 1) {
				t.Errorf("version %d with rotation %d", v, r.Rotation)
			}
			return
		}
		mustWait(t, "thawing", err, false, "")
	}
}

func TestKilledVaultKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	for _, storage := range []string{"file", "raft"} {
		t.Run(storage, func(t *testing.T) {
			t.Parallel()
			s := vaulttest.StartOwn(t, storage)
			store := open(t, s, s.Mount(t))
			id, acknowledged := vaultstoretest.NewID(), make(chan vaultstore.Version)
			go func() {
				defer close(acknowledged)
				for v := vaultstore.Version(0); ; {
					next, err := store.Put(context.WithoutCancel(t.Context()), id, vaultstore.Record{Rotation: int(v) + 1}, v)
					if err != nil {
						return
					}
					v = next
					acknowledged <- v
				}
			}()
			var last vaultstore.Version
			killed := make(chan struct{})
			for v := range acknowledged {
				if last = v; v == 50 {
					go func() { defer close(killed); s.Kill(t) }()
				}
			}
			<-killed
			s.Restart(t)
			r, v, err := store.Get(t.Context(), id)
			// One write may have landed without its answer.
			if err != nil || v < last || v > last+1 || r.Rotation != int(v) {
				t.Errorf("acknowledged %d, found %d with rotation %d, %v", last, v, r.Rotation, err)
			}
		})
	}
}

func TestCheckKnowsTheMount(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	v1 := vaulttest.Name("v1")
	s.Call(t, http.MethodPost, "sys/mounts/"+v1, map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	asRoot := func(c *vaultstore.Config) { c.Token = secret.New(s.Token) }
	for name, tt := range map[string]struct {
		mount  string
		change func(*vaultstore.Config)
		text   string
	}{
		"good":              {s.Mount(t), asRoot, ""},
		"no such mount":     {"absent", asRoot, "no such mount"},
		"KV v1":             {v1, asRoot, "no KV v2 engine"},
		"another engine":    {"sys", asRoot, "no KV v2 engine"},
		"ignored namespace": {s.Mount(t), func(c *vaultstore.Config) { asRoot(c); c.Namespace = "team-a" }, "would ignore"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := open(t, s, tt.mount, tt.change)
			err := store.Check(t.Context())
			if tt.text == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			mustWait(t, "check", err, false, tt.text)
			// Without Check having run, none of these may read as "no token".
			store = open(t, s, tt.mount, tt.change)
			_, _, err = store.Get(t.Context(), vaultstoretest.NewID())
			mustWait(t, "get", err, false, "")
			_, err = store.Put(t.Context(), vaultstoretest.NewID(), vaultstore.Record{}, 0)
			mustWait(t, "put", err, false, "")
			_, err = vaultstoretest.IDs(t.Context(), store)
			mustWait(t, "list", err, false, "")
			_, err = store.Erase(t.Context(), vaultstoretest.NewID())
			mustWait(t, "erase", err, false, "")
		})
	}
}

func TestDeletedByHand(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	store, id := open(t, s, mount), vaultstoretest.NewID()
	if _, err := store.Put(t.Context(), id, vaultstore.Record{}, 0); err != nil {
		t.Fatal(err)
	}
	s.Call(t, http.MethodDelete, mount+"/data/team/finx/connections/"+id, nil)
	_, v, err := store.Get(t.Context(), id)
	if !errors.Is(err, vaultstore.ErrNotFound) || v != 1 {
		t.Fatalf("version %d, %v", v, err)
	}
	if v, err = store.Put(t.Context(), id, vaultstore.Record{Rotation: 1}, v); v != 2 || err != nil {
		t.Errorf("writing at the version Get named: %d, %v", v, err)
	}
}

func TestForeignKeysAreNotListed(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	store, id := open(t, s, mount), vaultstoretest.NewID()
	for _, key := range []string{"notes", "deep/" + id, id} {
		s.Call(t, http.MethodPost, mount+"/data/team/finx/connections/"+key, map[string]any{"data": map[string]any{"v": 1}})
	}
	if got, err := vaultstoretest.IDs(t.Context(), store); err != nil || len(got) != 1 || got[0] != id {
		t.Errorf("got %v, %v", got, err)
	}
}
