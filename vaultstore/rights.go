package vaultstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// sampleID stands for any connection when Vault is asked what we may do.
const sampleID = "00000000-0000-0000-0000-000000000000"

// right is what the policies must allow on a path.
type right struct {
	path         string
	capabilities []string
}

// rights returns what records need under the mount's limits. Listing is left
// out: only operators' commands do it. So is transit: without it the connector
// works on and says that it cannot seal.
func (p paths) rights(lim limits) []right {
	metadata := []string{"read", "delete"}
	if lim.limitsKey() {
		metadata = []string{"create", "update", "read", "delete"}
	}
	needed := []right{
		{p.data(sampleID), []string{"create", "update", "read"}},
		{p.metadata(sampleID), metadata},
	}
	if lim.destroys() {
		needed = append(needed, right{p.destroy(sampleID), []string{"update"}})
	}
	return needed
}

// checkRights fails when the policies forbid something a record needs. The
// alternative is to find out with a spent code in hand.
func (s *Store) checkRights(ctx context.Context) error {
	needed := s.paths.rights(*s.limits.Load())
	granted, err := s.capabilities(ctx, needed)
	if isForbidden(err) { // allowed by the default policy, which not every token has
		if s.unjudged.CompareAndSwap(false, true) {
			s.log.WarnContext(ctx, "the token may not ask for its rights at sys/capabilities-self; they go unchecked", "error", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("asking for the token's rights: %w", err)
	}
	s.unjudged.Store(false)
	var missing []string
	for _, r := range needed {
		if lacks := lacking(granted[r.path], r.capabilities); len(lacks) > 0 {
			missing = append(missing, "may not "+strings.Join(lacks, ", ")+" "+r.path)
		}
	}
	if len(missing) > 0 {
		return fault.Transient(fault.Vault, errors.New("the token's policies fall short: "+strings.Join(missing, "; ")))
	}
	return nil
}

func lacking(granted, needed []string) (lacks []string) {
	if slices.Contains(granted, "root") {
		return nil
	}
	for _, c := range needed {
		if !slices.Contains(granted, c) {
			lacks = append(lacks, c)
		}
	}
	return lacks
}

// capabilities asks what the token may do on each path. It does not go through
// session.do: the token has just been used, so that a refusal is a policy's and
// no reason to log in again.
func (s *Store) capabilities(ctx context.Context, needed []right) (map[string][]string, error) {
	asked := make([]string, 0, len(needed))
	for _, r := range needed {
		asked = append(asked, r.path)
	}
	body, err := json.Marshal(map[string][]string{"paths": asked})
	if err != nil {
		return nil, err
	}
	var granted map[string][]string
	err = s.session.once(ctx, func(ctx context.Context, client *api.Client) error {
		got, err := client.Logical().WriteBytesWithContext(ctx, "sys/capabilities-self", body)
		if err != nil {
			return err
		}
		if got == nil {
			return errors.New("an empty answer")
		}
		granted, err = grants(got.Data, asked)
		return err
	})
	return granted, err
}

func grants(data map[string]any, asked []string) (map[string][]string, error) {
	granted := make(map[string][]string, len(asked))
	for _, path := range asked {
		list, ok := data[path].([]any)
		if !ok {
			return nil, errors.New("an answer of an unknown form")
		}
		for _, c := range list {
			if name, ok := c.(string); ok {
				granted[path] = append(granted[path], name)
			}
		}
	}
	return granted, nil
}
