package vaultstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// defaultKept is how many versions Vault keeps where nobody set a number.
const defaultKept = 10

// destroySuperseded makes sure that no version before newest is left. A failure
// does not fail the write, which has succeeded: the next write destroys the
// remainder.
func (s *Store) destroySuperseded(ctx context.Context, id string, newest Version, lim limits) {
	if newest < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.session.timeout)
	defer cancel()
	if err := s.leaveOnly(ctx, id, newest, lim); err != nil {
		s.metrics.kept()
		s.log.WarnContext(ctx, "destroying superseded versions failed; the next write will", "connection_id", id, "error", err)
	}
}

// leaveOnly looks at what is left. The look is a read, which costs no disk
// write, and it alone is sure: the limits of mount and key are an operator's to
// change between any two calls, and an earlier destruction may have failed.
func (s *Store) leaveOnly(ctx context.Context, id string, newest Version, lim limits) error {
	h, found, err := s.history(ctx, id)
	if err != nil { // perhaps we may not look; what there may be is destroyed unseen
		return s.destroy(ctx, id, supposed(newest, lim))
	}
	// Erased meanwhile: versions below ours would be those of a new record.
	if !found || h.Current < newest {
		return nil
	}
	left := h.live(newest)
	if len(left) == 0 {
		return nil
	}
	err = s.destroy(ctx, id, left)
	if h.MaxVersions != 1 { // once, so that Vault itself leaves no more where the mount permits
		err = errors.Join(err, s.limitKey(ctx, id))
	}
	return err
}

// supposed returns the versions that a key and its mount may hold before newest.
// Destroying one that is gone is no error.
func supposed(newest Version, lim limits) []Version {
	var versions []Version
	for v := max(1, newest-Version(max(lim.maxVersions, defaultKept))); v < newest; v++ {
		versions = append(versions, v)
	}
	return versions
}

func (s *Store) destroy(ctx context.Context, id string, versions []Version) error {
	body, err := json.Marshal(map[string][]Version{"versions": versions})
	if err != nil {
		return err
	}
	if err = s.post(ctx, s.paths.destroy(id), body); err != nil {
		return fmt.Errorf("destroying %d versions: %w", len(versions), err)
	}
	return nil
}
