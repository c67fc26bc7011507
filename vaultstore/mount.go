package vaultstore

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// limits is what the mount said about versions when it was last asked. Vault
// keeps the larger of the mount's and the key's max_versions, ten when both are
// zero. An operator may change either at any time, so these figures only save
// work: what superseded versions are left is looked at after each write.
type limits struct {
	known       bool // the policies let us read the mount's configuration
	maxVersions int
}

// limitsKey reports whether a key must be told to keep one version.
func (l limits) limitsKey() bool { return !l.known || l.maxVersions == 0 }

// destroys reports whether the mount keeps more than one version whatever the
// key says, so that we destroy the superseded ones ourselves.
func (l limits) destroys() bool { return !l.known || l.maxVersions > 1 }

// Check returns nil when records could be read and written now: Vault is
// reachable and unsealed, the login works, the mount is a KV v2 engine, and the
// token's policies allow what a record needs. Call it for readiness; it also
// notices a changed configuration of the mount. It writes nothing.
func (s *Store) Check(ctx context.Context) (err error) {
	defer s.measure(ctx, opCheck, time.Now(), &err)
	if err = s.inspect(ctx); err == nil {
		err = s.checkRights(ctx)
	}
	if err != nil {
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
	found, err := s.fetch(ctx, "sys/internal/ui/mounts/"+s.paths.mount, &mount)
	if isForbidden(err) {
		return fmt.Errorf("no such mount, or no right to anything below it: %w", err)
	}
	if err != nil {
		return err
	}
	if !found || mount.Type != "kv" || mount.Options["version"] != "2" {
		return fault.Transient(fault.Vault, fmt.Errorf("%w: type %q, version %q", ErrNoKV2, mount.Type, mount.Options["version"]))
	}
	var config struct {
		MaxVersions int `json:"max_versions"`
	}
	found, err = s.fetch(ctx, s.paths.config(), &config)
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
	return lim, s.limitKey(ctx, id)
}

func (s *Store) limitKey(ctx context.Context, id string) error {
	if err := s.post(ctx, s.paths.metadata(id), []byte(`{"max_versions":1}`)); err != nil {
		return fmt.Errorf("limiting the versions: %w", err)
	}
	return nil
}

// post makes a write that may be repeated without harm.
func (s *Store) post(ctx context.Context, path string, body []byte) error {
	return s.session.do(ctx, false, func(ctx context.Context, client *api.Client) error {
		_, err := client.Logical().WriteBytesWithContext(ctx, path, body)
		return err
	})
}
