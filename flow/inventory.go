package flow

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// connectionID is a connection's id in the 16 bytes it is worth. Its bytes order
// as its text does. The zero value stands before every id.
type connectionID [16]byte

// errNoID is not wrapped around what was no id: it may be anything.
var errNoID = errors.New("flow: a listed id is no UUID")

func parseConnectionID(text string) (id connectionID, err error) {
	digits := strings.ReplaceAll(text, "-", "")
	if len(digits) != 2*len(id) {
		return connectionID{}, errNoID
	}
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return connectionID{}, errNoID
	}
	return id, nil
}

func (id connectionID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// inventory returns the ids that have a secret from the given one on, in order and
// at most limit of them, and the one that comes next; zero when that was all.
func (f *Flow) inventory(ctx context.Context, from connectionID, limit int) (ids []connectionID, beyond connectionID, err error) {
	full := errors.New("enough")
	first := from.String()
	err = f.Background.Inventory.List(ctx, func(text string) error {
		if text < first {
			return nil
		}
		id, err := parseConnectionID(text)
		switch {
		case err != nil:
			return err
		case len(ids) == limit:
			beyond = id
			return full
		}
		ids = append(ids, id)
		return nil
	})
	if err != nil && err != full { //nolint:errorlint // it comes back as it is
		return nil, connectionID{}, err
	}
	return ids, beyond, nil
}

// sweepPos is how far a sweep of this process got that did not reach its end.
type sweepPos struct {
	mu   sync.Mutex
	next connectionID // the first one not looked at
}

func (p *sweepPos) get() connectionID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

func (p *sweepPos) set(id connectionID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = id
}
