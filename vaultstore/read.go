package vaultstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// maxAnswer bounds an answer of Vault: far above any record, far below what
// would hurt.
const maxAnswer = 8 << 20

// read returns what is stored with its version. The client's own Get reports a
// mount that does not exist as a missing secret, and a deleted version as
// success without data; here the first is an error and both others are
// ErrNotFound, a deleted one with its version.
func (s *Store) read(ctx context.Context, id string) (stored, Version, error) {
	var answer struct {
		Data *stored
		Meta struct{ Version Version } `json:"metadata"`
	}
	found, err := s.fetch(ctx, s.paths.data(id), &answer)
	if err != nil {
		return stored{}, 0, err
	}
	if found && answer.Meta.Version < 1 {
		return stored{}, 0, fault.Transient(fault.Vault, errors.New("an answer without a version: is this a KV v2 engine?"))
	}
	if !found || answer.Data == nil {
		if err := s.mustHaveMount(ctx); err != nil {
			return stored{}, 0, err
		}
		return stored{}, answer.Meta.Version, ErrNotFound
	}
	return *answer.Data, answer.Meta.Version, nil
}

// history is what the metadata of a record say about its versions.
type history struct {
	Current     Version `json:"current_version"`
	MaxVersions int     `json:"max_versions"` // of the key
	Versions    map[Version]struct{ Destroyed bool }
}

// live returns the versions before the given one that still hold data, in
// order. A deleted one does: undeleting brings it back.
func (h history) live(before Version) []Version {
	var found []Version
	for v, state := range h.Versions {
		if v < before && !state.Destroyed {
			found = append(found, v)
		}
	}
	slices.Sort(found)
	return found
}

func (s *Store) history(ctx context.Context, id string) (h history, found bool, err error) {
	found, err = s.fetch(ctx, s.paths.metadata(id), &h)
	return h, found, err
}

// countVersions counts the versions that still hold data.
func (s *Store) countVersions(ctx context.Context, id string) (int, error) {
	h, found, err := s.history(ctx, id)
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, s.mustHaveMount(ctx)
	}
	return len(h.live(math.MaxInt)), nil
}

// fetch reads path and decodes the "data" of the answer into out. found is
// false when the server answered that nothing is there; out is then filled with
// what it said besides, such as the version of a deleted secret.
func (s *Store) fetch(ctx context.Context, path string, out any) (found bool, err error) {
	err = s.session.do(ctx, false, func(ctx context.Context, client *api.Client) error {
		found, err = fetchOnce(ctx, client, path, out)
		return err
	})
	return found, err
}

func fetchOnce(ctx context.Context, client *api.Client, path string, out any) (bool, error) {
	resp, err := client.Logical().ReadRawWithDataWithContext(ctx, path, nil)
	if resp != nil {
		defer func() { _ = resp.Body.Close() }()
	}
	re, refused := errors.AsType[*api.ResponseError](err)
	missing := refused && re.StatusCode == http.StatusNotFound && len(re.Errors) == 0
	if err != nil && !missing {
		return false, err
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return false, fmt.Errorf("reading the answer: %w", err)
	}
	if len(raw) > maxAnswer {
		return false, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	var answer struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return false, errors.New("an answer that is not Vault's") // err could quote it
	}
	if len(answer.Data) == 0 {
		return false, nil
	}
	if err := json.Unmarshal(answer.Data, out); err != nil {
		return false, errors.New("an answer of an unknown form")
	}
	return !missing, nil
}
