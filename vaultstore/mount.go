package vaultstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// limits is what the mount says about versions. Vault keeps the larger of the
// mount's and the key's max_versions, ten when both are zero.
type limits struct {
	known       bool // the policies let us read the mount's configuration
	maxVersions int
}

// limitsKey reports whether a key must be told to keep one version.
func (l limits) limitsKey() bool { return !l.known || l.maxVersions == 0 }

// destroys reports whether the mount keeps more than one version whatever the
// key says, so that we destroy the superseded ones ourselves.
func (l limits) destroys() bool { return !l.known || l.maxVersions > 1 }

// Check returns nil when a record could be read now: Vault is reachable and
// unsealed, the login works, and the mount is a KV v2 engine. Call it for
// readiness; it also notices a changed configuration of the mount.
func (s *Store) Check(ctx context.Context) (err error) {
	defer s.measure("check", time.Now(), &err)
	if err := s.inspect(ctx); err != nil {
		return fmt.Errorf("vaultstore: checking the mount %s: %w", s.paths.mount, err)
	}
	return nil
}

func (s *Store) inspect(ctx context.Context) error {
	if err := s.checkNamespace(ctx); err != nil {
		return err
	}
	// Open to every token with any right below the mount, unlike sys/mounts; it
	// is what Vault's own command line asks to tell KV v1 from v2.
	var mount struct {
		Type    string
		Options map[string]string
	}
	found, err := s.fetch(ctx, "sys/internal/ui/mounts/"+s.paths.mount, nil, &mount)
	if isForbidden(err) {
		return fmt.Errorf("no such mount, or no right to anything below it: %w", err)
	}
	if err != nil {
		return err
	}
	if !found || mount.Type != "kv" || mount.Options["version"] != "2" {
		return fault.Transient(fault.Vault, fmt.Errorf("no KV v2 engine: type %q, version %q", mount.Type, mount.Options["version"]))
	}
	var config struct {
		MaxVersions int `json:"max_versions"`
	}
	found, err = s.fetch(ctx, s.paths.config(), nil, &config)
	if err != nil && !isForbidden(err) {
		return err
	}
	s.limits.Store(&limits{known: found && err == nil, maxVersions: config.MaxVersions})
	return nil
}

// mustHaveMount is asked before "not found" is believed: a mistyped mount or a
// KV v1 engine answers the same.
func (s *Store) mustHaveMount(ctx context.Context) error {
	if s.limits.Load() != nil {
		return nil
	}
	return s.inspect(ctx)
}

// checkNamespace fails on a server that would ignore the namespace header and
// write to its root: Vault's community edition does.
func (s *Store) checkNamespace(ctx context.Context) error {
	if s.namespace == "" {
		return nil
	}
	var answer struct{ Keys []string }
	_, err := s.fetch(ctx, "sys/namespaces", url.Values{"list": {"true"}}, &answer)
	if isForbidden(err) { // there, and not ours to list
		return nil
	}
	if e, ok := errors.AsType[*statusError](err); ok && e.status == http.StatusNotFound {
		return fault.Transient(fault.Vault, fmt.Errorf("the server knows no namespaces and would ignore %q: %w", s.namespace, e))
	}
	return err
}

// prepare tells a new key to keep one version, before its first write. The
// write is idempotent and creates no record.
func (s *Store) prepare(ctx context.Context, id string, cas Version) (limits, error) {
	if err := s.mustHaveMount(ctx); err != nil {
		return limits{}, err
	}
	lim := *s.limits.Load()
	if cas != 0 || !lim.limitsKey() {
		return lim, nil
	}
	err := s.session.do(ctx, false, func(ctx context.Context, client *api.Client) error {
		_, err := client.Logical().WriteBytesWithContext(ctx, s.paths.metadata(id), []byte(`{"max_versions":1}`))
		return err
	})
	if err != nil {
		return lim, fmt.Errorf("limiting the versions: %w", err)
	}
	return lim, nil
}

// destroySuperseded destroys what the mount would keep. A failure does not fail
// the write, which has succeeded: the next write destroys the remainder.
func (s *Store) destroySuperseded(ctx context.Context, id string, newest Version, lim limits) {
	if !lim.destroys() || newest < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.session.timeout)
	defer cancel()
	const defaultKept = 10
	oldest := max(1, newest-Version(max(lim.maxVersions, defaultKept)))
	var body struct {
		Versions []Version `json:"versions"`
	}
	for v := oldest; v < newest; v++ {
		body.Versions = append(body.Versions, v)
	}
	raw, err := json.Marshal(body)
	if err == nil {
		err = s.session.do(ctx, false, func(ctx context.Context, client *api.Client) error {
			_, err := client.Logical().WriteBytesWithContext(ctx, s.paths.destroy(id), raw)
			return err
		})
	}
	if err != nil {
		s.metrics.kept()
		s.log.WarnContext(ctx, "destroying superseded versions failed; the next write will", "connection_id", id, "error", err)
	}
}
