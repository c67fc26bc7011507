package replay

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/retry"
)

// refetch asks for fetches of connections, in the order of their ids: that is one
// which a record that is written meanwhile does not change.
type refetch struct {
	*Replayer

	id         string
	req        Request
	begun      time.Time // connections that came later are not chosen
	known      *known
	unreadable *UnreadableError // what the last list lacks
}

// UnreadableError names the records that Records.List had to leave out, after it
// has given all others.
type UnreadableError struct{ IDs []string }

// Error counts them.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("replay: listing the connections: %d records cannot be read", len(e.IDs))
}

// listed is one connection of a list that may have a million.
type listed struct {
	id    [16]byte
	state uint8 // index into connection.States()
	calls int32
}

func (f *refetch) each(ctx context.Context, at position, planning bool, fn func(item) error) error {
	all, err := f.list(ctx)
	if err != nil {
		return err
	}
	for _, one := range all {
		id := formatID(one.id)
		if id <= at.After {
			continue
		}
		it := f.item(id, connection.States()[one.state], int(one.calls))
		if !planning {
			if it, err = f.fresh(ctx, id); err != nil {
				return err
			}
		}
		if err := fn(it); err != nil {
			return err
		}
	}
	return nil
}

// list returns the chosen connections, sorted by id, each once.
func (f *refetch) list(ctx context.Context) ([]listed, error) {
	states := connection.States()
	var all []listed
	take := func(r connection.Record) {
		id, ok := parseID(r.ID)
		if ok && f.chosen(r) {
			all = append(all, listed{id: id, state: uint8(max(slices.Index(states, r.State), 0)), calls: int32(f.fetchCalls(r))}) //nolint:gosec // small numbers
		}
	}
	if id := f.req.Selection.Connection; id != "" {
		r, err := f.known.record(ctx, id)
		if errors.Is(err, connection.ErrNotFound) {
			return nil, fmt.Errorf("replay: there is no connection %s", id)
		}
		if err != nil {
			return nil, fmt.Errorf("replay: reading connection %s: %w", id, err)
		}
		take(r)
		return all, nil
	}
	f.unreadable = nil
	err := retry.Do(ctx, f.policy, func(ctx context.Context) error {
		all = all[:0]
		err := f.cfg.Records.List(ctx, func(r connection.Record) error {
			take(r)
			return nil
		})
		if errors.As(err, &f.unreadable) {
			return nil
		}
		return err
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("replay: listing the connections: %w", err)
	}
	slices.SortStableFunc(all, func(a, b listed) int { return bytes.Compare(a.id[:], b.id[:]) })
	return lastOfEach(all), nil
}

// lastOfEach keeps the last of those with one id: a record that is written while
// the list is read comes twice.
func lastOfEach(all []listed) []listed {
	out := all[:0]
	for i, one := range all {
		if i+1 == len(all) || all[i+1].id != one.id {
			out = append(out, one)
		}
	}
	return out
}

func (f *refetch) chosen(r connection.Record) bool {
	s := f.req.Selection
	return (s.User == "" || r.UserID == s.User) && (s.Connection == "" || r.ID == s.Connection) && !r.CreatedAt.After(f.begun)
}

// fresh looks once more whether a connection can be fetched.
func (f *refetch) fresh(ctx context.Context, id string) (item, error) {
	f.known.begin()
	r, err := f.known.record(ctx, id)
	switch {
	case errors.Is(err, connection.ErrNotFound):
		it := f.item(id, connection.Erased, 0)
		it.skip = skipNoRecord
		return it, nil
	case errors.Is(err, errUnreadable):
		it := f.item(id, connection.Erased, 0)
		it.skip = skipUnreadable
		return it, nil
	case err != nil:
		return item{}, fmt.Errorf("replay: reading connection %s: %w", id, err)
	}
	return f.item(id, r.State, f.fetchCalls(r)), nil
}

func (f *refetch) item(id string, state connection.State, calls int) item {
	it := item{typ: events.TypeSyncRequested, connection: id, calls: calls, id: events.UUIDv5("refetch", f.id, id)}
	if state != connection.Established {
		it.skip, it.calls = "it is "+string(state)+": only an established one can be fetched", 0
	}
	it.message = func() (*nats.Msg, error) { return f.request(id, it.id) }
	return it
}

// request makes the sync request. Its id comes from replay and connection: asking
// twice is asking once.
func (f *refetch) request(connectionID, id string) (*nats.Msg, error) {
	in := events.SyncRequested{
		ConnectionID: connectionID, Since: day(f.req.Selection.Since), Until: day(f.req.Selection.Until), Full: f.req.Full,
		Reason: short(cmp.Or(f.req.Reason, "replay "+f.id)), Trigger: events.TriggerReplay,
	}
	body, err := events.EncodeInput(events.TypeSyncRequested, id, time.Now().UTC(), events.Cause{ReplayID: f.id}, in)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: f.cfg.Codec.Subject(events.TypeSyncRequested), Data: body, Header: nats.Header{
		events.HeaderContentType: {events.ContentTypeStructured}, events.HeaderReplayID: {f.id},
	}}, nil
}

// short cuts a reason to what a sync request takes.
func short(s string) string {
	for len(s) > events.MaxReason {
		r := []rune(s)
		s = string(r[:len(r)-1])
	}
	return s
}

func parseID(s string) (id [16]byte, ok bool) {
	if !events.IsUUID(s) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(strings.ReplaceAll(s, "-", "")))
	return id, err == nil
}

func formatID(id [16]byte) string {
	h := hex.EncodeToString(id[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}
