package vaultstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// health is what a server says of itself to anybody.
type health struct {
	Version    string `json:"version"`
	Enterprise *bool  `json:"enterprise"` // Vault since 1.16; nil elsewhere

	Initialized        *bool  `json:"initialized"` // nil: the answer is not Vault's
	Sealed             bool   `json:"sealed"`
	Standby            bool   `json:"standby"`
	PerformanceStandby bool   `json:"performance_standby"`
	Time               int64  `json:"server_time_utc"` // Unix seconds
	Cluster            string `json:"cluster_name"`
}

// checkNamespace fails on a server that would ignore the namespace header and
// write to its root, as Vault's community edition does. What the server is tells
// it; sys/namespaces does not, because a token of few rights gets its 403 before
// the server looks whether the path exists.
func (s *Store) checkNamespace(ctx context.Context) error {
	if s.namespace == "" {
		return nil
	}
	h, err := s.health(ctx)
	if err != nil {
		return fmt.Errorf("asking the server whether it knows namespaces: %w", err)
	}
	if h.honoursNamespaces() {
		return nil
	}
	return fault.Transient(fault.Vault, fmt.Errorf(
		"the server (version %.40q) has no namespaces and would ignore %q: only Vault Enterprise, HCP Vault and OpenBao from 2.3 have them", h.Version, s.namespace))
}

// honoursNamespaces knows Vault Enterprise and HCP by the flag or, before 1.16,
// by the "+ent" of the version. OpenBao has no flag, counts its versions from
// 2.0 and has namespaces since 2.3; a Vault that is as new as that has the flag.
func (h health) honoursNamespaces() bool {
	if h.Enterprise != nil {
		return *h.Enterprise
	}
	version, build, _ := strings.Cut(h.Version, "+")
	if build == "ent" || strings.HasPrefix(build, "ent.") {
		return true
	}
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	x, errX := strconv.Atoi(major)
	y, errY := strconv.Atoi(minor)
	return errX == nil && errY == nil && (x > 2 || x == 2 && y >= 3)
}

// health asks the root namespace, the only one that answers. Every state of a
// server is a success here: what it cannot do now, later calls will say.
func (s *Store) health(ctx context.Context) (h health, err error) {
	always := url.Values{}
	for _, state := range []string{"standbycode", "performancestandbycode", "drsecondarycode", "sealedcode", "uninitcode"} {
		always.Set(state, "200")
	}
	err = s.session.once(ctx, func(ctx context.Context, client *api.Client) error {
		resp, err := client.WithNamespace("").Logical().ReadRawWithDataWithContext(ctx, "sys/health", always)
		if resp != nil {
			defer func() { _ = resp.Body.Close() }()
		}
		if err != nil {
			return err
		}
		raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		if json.Unmarshal(raw, &h) != nil {
			return errors.New("an answer that is not Vault's")
		}
		return nil
	})
	return h, err
}
