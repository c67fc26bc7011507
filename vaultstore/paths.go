package vaultstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// ErrInvalidID reports a connection id that is no UUID in its one canonical
// form: 36 characters, lower case. Nothing is sent to Vault for it.
var ErrInvalidID = errors.New("connection id is not a lower-case UUID")

// paths builds the API paths of one mount and prefix.
//
// Vault's client runs every path through path.Join, so that ".." in an id would
// read and overwrite the secret of somebody else, and "//" would alias one. Ids
// are therefore held to the one form that means only itself, and mount and
// prefix to harmless segments.
type paths struct{ mount, prefix string }

func newPaths(mount, prefix string) (paths, error) {
	p := paths{mount: strings.Trim(mount, "/"), prefix: strings.Trim(prefix, "/")}
	if err := checkSegments("mount", p.mount); err != nil {
		return paths{}, err
	}
	if err := checkSegments("prefix", p.prefix); err != nil {
		return paths{}, err
	}
	return p, nil
}

func (p paths) data(id string) string     { return p.of("data", id) }
func (p paths) metadata(id string) string { return p.of("metadata", id) }
func (p paths) destroy(id string) string  { return p.of("destroy", id) }
func (p paths) list() string              { return p.mount + "/metadata/" + p.prefix + "/connections" }
func (p paths) config() string            { return p.mount + "/config" }

func (p paths) of(kind, id string) string {
	return p.mount + "/" + kind + "/" + p.prefix + "/connections/" + id
}

func checkSegments(what, path string) error {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.ContainsFunc(segment, isUnsafe) {
			return fmt.Errorf("vaultstore: checking the configuration: %s %q: want segments of letters, digits, '-', '_' and '.'", what, path)
		}
	}
	return nil
}

func isUnsafe(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
		return false
	}
	return true
}

// CheckID returns ErrInvalidID, with the verdict give up, unless id is a UUID.
// The text does not repeat the id: it may be anything.
func CheckID(id string) error {
	if !isUUID(id) {
		return fault.Permanent(fault.Malformed, fmt.Errorf("vaultstore: checking an id of %d bytes: %w", len(id), ErrInvalidID))
	}
	return nil
}

func isUUID(id string) bool {
	if len(id) != 36 {
		return false
	}
	for i, c := range []byte(id) {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}
