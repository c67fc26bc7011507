package vaultstore_test

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

// meter reads what a store counted; label values come in the order of the names.
type meter struct{ reg *prometheus.Registry }

func metered(c *vaultstore.Config) meter {
	reg := prometheus.NewPedanticRegistry()
	c.Metrics = vaultstore.NewMetrics(reg)
	return meter{reg}
}

func (m meter) value(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := m.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "finx_connector_vaultstore_"+name {
			continue
		}
		for _, metric := range family.GetMetric() {
			var values []string
			for _, pair := range metric.GetLabel() {
				values = append(values, pair.GetValue())
			}
			if slices.Equal(values, labels) {
				return metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s %v", name, labels)
	return 0
}

func (m meter) until(t *testing.T, want float64, name string, labels ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for m.value(t, name, labels...) < want {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s %v is %v, want %v", name, labels, m.value(t, name, labels...), want)
		}
	}
}

// byAppRole makes the store log in with a role whose tokens live as told.
func byAppRole(t *testing.T, s *vaulttest.Server, mount string, fields map[string]any) (*vaulttest.AppRole, func(*vaultstore.Config)) {
	t.Helper()
	role := map[string]any{"token_policies": s.Policy(t, vaulttest.KV2Rules(t, mount, "team/finx"))}
	maps.Copy(role, fields)
	r := s.AppRole(t, role)
	return r, func(c *vaultstore.Config) {
		c.Token, c.Auth, c.AuthMount, c.RoleID = secret.Text{}, vaultstore.AuthAppRole, r.Mount, r.RoleID
		c.SecretID = secret.New(r.SecretID(t))
	}
}

func run(t *testing.T, store *vaultstore.Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// revokeAll revokes every token a role has handed out.
func revokeAll(t *testing.T, s *vaulttest.Server, r *vaulttest.AppRole) {
	t.Helper()
	s.Call(t, http.MethodPut, "sys/leases/revoke-prefix/auth/"+r.Mount, map[string]any{"sync": true})
}

func TestRevokedTokenIsReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	role, login := byAppRole(t, s, mount, nil)
	var m meter
	store := open(t, s, mount, login, func(c *vaultstore.Config) { m = metered(c) })
	run(t, store)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			id := vaultstoretest.NewID()
			for v := vaultstore.Version(0); ctx.Err() == nil; v++ {
				if _, err := store.Put(t.Context(), id, vaultstore.Record{Rotation: int(v)}, v); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := range 3 {
		m.until(t, float64(300*(n+1)), "operations_total", "put", "ok") // work goes on between the revocations
		revokeAll(t, s, role)
		m.until(t, float64(n+2), "logins_total", "ok")
	}
	stop()
	wg.Wait()
	if ok, bad := m.value(t, "logins_total", "ok"), m.value(t, "logins_total", "error"); ok != 4 || bad != 0 {
		t.Errorf("%v logins, %v failed, want one for each token", ok, bad)
	}
}

func TestPolicyDenialIsNoReasonToLogIn(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	_, login := byAppRole(t, s, "elsewhere", nil)
	var m meter
	store := open(t, s, s.Mount(t), login, func(c *vaultstore.Config) { m = metered(c) })
	for range 3 {
		_, _, err := store.Get(t.Context(), vaultstoretest.NewID())
		if err == nil || fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.Vault || !strings.Contains(err.Error(), "policies forbid") {
			t.Errorf("got %v", err)
		}
	}
	if got := m.value(t, "logins_total", "ok"); got != 1 {
		t.Errorf("%v logins", got)
	}
}

func TestDenialOfATokenThatMayNotLookAtItself(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	_, login := byAppRole(t, s, "elsewhere", map[string]any{"token_no_default_policy": true})
	var m meter
	store := open(t, s, s.Mount(t), login, func(c *vaultstore.Config) { m = metered(c) })
	for range 5 {
		if err := store.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "policies forbid") {
			t.Errorf("got %v", err)
		}
	}
	if got := m.value(t, "logins_total", "ok"); got != 2 {
		t.Errorf("%v logins, want the first and one attempt to mend it", got)
	}
}

func TestTokenIsRenewedAndReplacedAtItsEnd(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	_, login := byAppRole(t, s, mount, map[string]any{"token_ttl": "2s", "token_max_ttl": "4s"})
	var m meter
	store := open(t, s, mount, login, func(c *vaultstore.Config) { m = metered(c) })
	run(t, store)
	id, v := vaultstoretest.NewID(), vaultstore.Version(0)
	for m.value(t, "logins_total", "ok") < 3 { // two ends of a token are lived through
		var err error
		if v, err = store.Put(t.Context(), id, vaultstore.Record{}, v); err != nil {
			t.Fatal(err)
		}
	}
	if m.value(t, "token_renewals_total") == 0 {
		t.Error("never renewed")
	}
	if m.value(t, "answers_total", "403") != 0 {
		t.Error("a call met a dead token although Run was running")
	}
	if at := time.Unix(int64(m.value(t, "token_expiry_timestamp_seconds")), 0); time.Until(at) > 5*time.Second {
		t.Errorf("expiry %v", at)
	}
}

func TestExpiredTokenWithoutRun(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	role, login := byAppRole(t, s, mount, nil)
	store := open(t, s, mount, login)
	for range 3 {
		if _, err := store.Put(t.Context(), vaultstoretest.NewID(), vaultstore.Record{}, 0); err != nil {
			t.Fatal(err)
		}
		revokeAll(t, s, role)
	}
}

func TestWrappedSecretIDOpensOnce(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	role, login := byAppRole(t, s, mount, nil)
	file := filepath.Join(t.TempDir(), "secret-id")
	wrap := func() {
		wrapped := s.Wrap(t, map[string]any{"secret_id": role.SecretID(t)})
		if err := os.WriteFile(file, []byte(wrapped+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fromFile := func(c *vaultstore.Config) {
		c.SecretID, c.SecretIDFile, c.SecretIDWrapped = secret.Text{}, file, true
	}
	wrap()
	store := open(t, s, mount, login, fromFile)
	for range 2 { // the second login uses what the first one unwrapped
		if err := store.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		revokeAll(t, s, role)
	}
	thief := open(t, s, mount, login, fromFile)
	if err := thief.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "stolen") || fault.Of(err) != fault.Retry {
		t.Errorf("a second opening: %v", err)
	}
	wrap() // a new one is taken up
	if err := store.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestKubernetesReadsItsTokenAtEachLogin(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	k := s.Kubernetes(t, map[string]any{"token_policies": s.Policy(t, vaulttest.KV2Rules(t, mount, "team/finx"))})
	file := filepath.Join(t.TempDir(), "token")
	first, second := k.JWT("first"), k.JWT("second")
	write := func(jwt string) {
		if err := os.WriteFile(file, []byte(jwt), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	store := open(t, s, mount, func(c *vaultstore.Config) {
		c.Token, c.Auth, c.AuthMount, c.K8sRole, c.K8sJWTPath = secret.Text{}, vaultstore.AuthKubernetes, k.Mount, k.Role, file
	})
	if err := store.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.Expire(first)
	write(second)
	s.Call(t, http.MethodPut, "sys/leases/revoke-prefix/auth/"+k.Mount, map[string]any{"sync": true})
	if err := store.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seen := k.Reviewed(); seen[0] != first || seen[len(seen)-1] != second {
		t.Error("the second login used the first token")
	}
}

func TestTokenFileIsReadAgain(t *testing.T) {
	t.Parallel()
	s := vault.Start(t)
	mount := s.Mount(t)
	fields := map[string]any{"policies": []string{s.Policy(t, vaulttest.KV2Rules(t, mount, "team/finx"))}, "ttl": "1h"}
	file := filepath.Join(t.TempDir(), "token")
	token := ""
	next := func() {
		token = s.NewToken(t, fields)
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	next()
	var logged bytes.Buffer
	var m meter
	store := open(t, s, mount, func(c *vaultstore.Config) {
		c.Token, c.TokenFile, c.Logger = secret.Text{}, file, slog.New(slog.NewTextHandler(&logged, nil))
		m = metered(c)
	})
	if err := store.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Revoke(t, token)
	for range 5 {
		if err := store.Check(t.Context()); err == nil || fault.Of(err) != fault.Retry || !strings.Contains(err.Error(), "expired or revoked") {
			t.Errorf("got %v", err)
		}
	}
	if got := m.value(t, "logins_total", "error"); got > 3 {
		t.Errorf("%v logins for five calls: no pause between them", got)
	}
	next()
	deadline := time.Now().Add(10 * time.Second)
	for store.Check(t.Context()) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the new token was not taken up")
		}
	}
	if text := logged.String(); !strings.Contains(text, "logging in to vault failed") || strings.Contains(text, "hvs.") {
		t.Errorf("log:\n%s", text)
	}
}

func TestMetricsAreWellNamed(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	vaultstore.NewMetrics(reg)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) != 0 {
		t.Error(problems, err)
	}
}
