package vaultstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/guard"
)

const (
	// listTimeout bounds a list. Vault reads, decrypts and encodes all names before
	// the first byte of its answer, and by default gives up itself after 90 s
	// (default_max_request_duration).
	listTimeout = 2 * time.Minute
	// maxList bounds what is read of a list: 27 million ids of 39 bytes.
	maxList = 1 << 30
)

// List calls each with the id of every record, in ascending order, as the answer
// comes: Vault knows no pages, so at ten million records the answer has 390 MB,
// and nothing here holds more than one id of it. each should return soon, because
// the answer waits for it. When each returns an error, List stops and returns
// that as it is. After any other error some ids may have been named, and those
// are true.
//
// An id may be named whose record Get does not find: one whose first write is
// under way.
func (s *Store) List(ctx context.Context, each func(id string) error) error {
	var stopped error
	started, found := time.Now(), false
	err := s.session.doWithin(ctx, listTimeout, false, func(ctx context.Context, client *api.Client) (err error) {
		found, err = listOnce(ctx, client, s.paths.list(), func(key string) error {
			if isUUID(key) { // what others put beside ours is theirs
				stopped = each(key)
			}
			return stopped
		})
		return err
	})
	switch {
	case stopped != nil:
		err = nil // Vault did its part
	case err == nil && !found:
		err = s.mustHaveMount(ctx)
	}
	s.metrics.operation("list", time.Since(started), err)
	if about := standing(ctx, err); about.Kind == guard.Alive {
		// A list that fails says nothing of records: it can be too long for Vault's
		// or our patience while each of them is read and written in a millisecond.
		s.session.observe(about)
	}
	switch {
	case stopped != nil:
		return stopped
	case err != nil:
		return fmt.Errorf("vaultstore: listing records: %w", err)
	}
	return nil
}

func listOnce(ctx context.Context, client *api.Client, path string, visit func(key string) error) (found bool, err error) {
	resp, err := client.Logical().ReadRawWithDataWithContext(ctx, path, url.Values{"list": {"true"}})
	if resp != nil {
		defer func() { _ = resp.Body.Close() }()
	}
	refused, answered := errors.AsType[*api.ResponseError](err)
	if answered && refused.StatusCode == http.StatusNotFound && len(refused.Errors) == 0 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return eachKey(io.LimitReader(resp.Body, maxList), visit)
}

// eachKey reads an answer to a list and calls visit with every string of its
// data.keys. found is false when the answer has none. What the server says is in
// no error: it could be anything.
func eachKey(r io.Reader, visit func(key string) error) (found bool, err error) {
	dec := json.NewDecoder(r)
	for _, name := range []string{"data", "keys"} {
		if found, err = enterMember(dec, name); !found || err != nil {
			return false, err
		}
	}
	if start, err := dec.Token(); err != nil || start != json.Delim('[') {
		return false, notAList(err)
	}
	for dec.More() {
		token, err := dec.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return false, notAList(err)
		}
		if err := visit(key); err != nil {
			return false, err
		}
	}
	if _, err := dec.Token(); err != nil { // the end of the array, which a cut answer lacks
		return false, notAList(err)
	}
	_, _ = io.Copy(io.Discard, io.MultiReader(dec.Buffered(), r)) // so that the connection can be used again
	return true, nil
}

// enterMember moves into an object, up to the value of its member of that name.
// found is false when there is no such member, or no object.
func enterMember(dec *json.Decoder, name string) (found bool, err error) {
	start, err := dec.Token()
	if err != nil {
		return false, notAList(err)
	}
	if start == nil { // null
		return false, nil
	}
	if start != json.Delim('{') {
		return false, notAList(nil)
	}
	for dec.More() {
		member, err := dec.Token()
		if err != nil {
			return false, notAList(err)
		}
		if member == name {
			return true, nil
		}
		var skipped json.RawMessage
		if err := dec.Decode(&skipped); err != nil {
			return false, notAList(err)
		}
	}
	return false, nil
}

// notAList hides what a decoder quotes and keeps what the network says.
func notAList(err error) error {
	if _, bad := errors.AsType[*json.SyntaxError](err); err == nil || bad {
		return errors.New("an answer that is not Vault's")
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading the answer: %w", err)
}
