package replay

import (
	"context"
	"errors"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
)

// assessment is what the records tell of an input: whom it is about, and what
// handling it again would come to. It is an estimate and guards nothing: the
// handlers themselves do nothing twice.
type assessment struct {
	connection, user string

	skip  string
	done  bool
	calls int
}

// without says in a that there is no record to be had; other errors come back.
func (a *assessment) without(err error) error {
	switch {
	case errors.Is(err, connection.ErrNotFound):
		a.skip = skipNoRecord
	case errors.Is(err, errUnreadable):
		a.skip = skipUnreadable
	default:
		return err
	}
	return nil
}

// assess looks an input up. stored is when its message was.
func (n *inputs) assess(ctx context.Context, e events.Envelope, stored time.Time) (assessment, error) {
	malformed := assessment{skip: skipMalformed}
	switch e.Type {
	case events.TypeConnectRequested:
		in, err := events.DecodeConnectRequested(e)
		if err != nil {
			return malformed, nil //nolint:nilerr // it is in the assessment
		}
		return n.assessConnect(ctx, events.ConnectionID(e), in)
	case events.TypeSyncRequested:
		in, err := events.DecodeSyncRequested(e)
		if err != nil {
			return malformed, nil //nolint:nilerr // it is in the assessment
		}
		return n.assessSync(ctx, events.FetchID(e), in, stored)
	case events.TypeErasureRequested:
		in, err := events.DecodeErasureRequested(e)
		if err != nil {
			return malformed, nil //nolint:nilerr // it is in the assessment
		}
		return n.assessErasure(ctx, in)
	}
	in, err := events.DecodeCallbackReceived(e)
	if err != nil {
		return malformed, nil //nolint:nilerr // it is in the assessment
	}
	return n.assessCallback(ctx, e, in)
}

func (n *inputs) assessConnect(ctx context.Context, id string, in events.ConnectRequested) (assessment, error) {
	a := assessment{connection: id, user: in.UserID}
	if s := n.req.Selection; s.Connection != "" && s.Connection != id || s.User != "" && s.User != in.UserID {
		return a, nil // not chosen, whatever its record says
	}
	rec, err := n.known.record(ctx, id)
	switch {
	case errors.Is(err, connection.ErrNotFound), err == nil && rec.State == connection.Requested:
		a.calls = 1 // the link
		return a, nil
	case err != nil:
		err = a.without(err)
		return a, err
	case rec.State == connection.Erased:
		a.skip = skipErased // nothing about its user is to be stored again
		return a, nil
	}
	a.done = true
	return a, nil
}

func (n *inputs) assessSync(ctx context.Context, fetchID string, in events.SyncRequested, stored time.Time) (assessment, error) {
	a := assessment{connection: in.ConnectionID}
	if s := n.req.Selection; s.Connection != "" && s.Connection != in.ConnectionID {
		return a, nil
	}
	rec, err := n.known.record(ctx, in.ConnectionID)
	if err != nil {
		err = a.without(err)
		return a, err
	}
	a.user = rec.UserID
	switch {
	case rec.FetchDone(fetchID):
		a.done = true
	case rec.State != connection.Established:
		a.skip = skipEnded
	case in.Since == "" && !in.Full && rec.LastFetch != nil && rec.LastFetch.StartedAt.After(stored):
		// A record remembers the last fetches only; what this one would bring, a
		// later one has brought.
		a.skip = skipSuperseded
	default:
		a.calls = n.fetchCalls(rec)
	}
	return a, nil
}

func (n *inputs) assessErasure(ctx context.Context, in events.ErasureRequested) (assessment, error) {
	a := assessment{connection: in.ConnectionID, user: in.UserID}
	if !n.req.Selection.names(n.cfg.Codec, events.TypeErasureRequested) {
		a.skip = skipErasure
	}
	if a.user != "" || a.connection == "" {
		return a, nil
	}
	rec, err := n.known.record(ctx, a.connection)
	if err != nil && !errors.Is(err, connection.ErrNotFound) && !errors.Is(err, errUnreadable) {
		return a, err
	}
	a.user = rec.UserID
	return a, nil
}

func (n *inputs) assessCallback(ctx context.Context, e events.Envelope, in events.CallbackReceived) (assessment, error) {
	binding, err := n.known.binding(ctx, in.State)
	if errors.Is(err, connection.ErrNotFound) {
		return assessment{skip: skipUnknown}, nil
	}
	if err != nil {
		a := assessment{}
		err = a.without(err)
		return a, err
	}
	a := assessment{connection: binding.ConnectionID}
	rec, err := n.known.record(ctx, binding.ConnectionID)
	if err != nil {
		err = a.without(err)
		return a, err
	}
	a.user = rec.UserID
	switch {
	case rec.State == connection.Erased:
		a.skip = skipErased
	case !in.Success:
		a.done = true // says so again at most, and calls nobody
	case in.Code.IsZero():
		n.assessRenewal(&a, e, in, binding, rec)
	default:
		n.assessCode(&a, in.Code.SHA256(), time.Since(e.Time) > n.cfg.CodeLifetime, binding, rec)
	}
	return a, nil
}

// assessRenewal is for a success without a code, after which the tokens in
// custody are tried.
func (n *inputs) assessRenewal(a *assessment, e events.Envelope, in events.CallbackReceived, binding connection.StateBinding, rec connection.Record) {
	switch {
	case in.State == rec.OAuthState:
		a.skip = skipMalformed // a first link must bring one
	case binding.CodeSHA256 != "", rec.State == connection.Established && rec.RenewalState != in.State:
		a.done = true
	case rec.EstablishedAt.After(e.Time):
		// The tokens that it would have tried are not those of today.
		a.skip = skipRenewed
	default:
		a.calls = 1 + n.fetchCalls(rec)
	}
}

func (n *inputs) assessCode(a *assessment, hash string, tooOld bool, binding connection.StateBinding, rec connection.Record) {
	switch {
	case binding.CodeSHA256 != "" && binding.CodeSHA256 != hash:
		a.skip = skipConsumed
	case rec.EstablishedBy == hash:
		if a.done = true; rec.LastFetch == nil || rec.LastFetch.StartedAt.Before(rec.EstablishedAt) {
			a.done, a.calls = false, n.fetchCalls(rec) // the first fetch is still to come
		}
	case rec.Settled(hash), tooOld:
		a.done = true // a code that is too old is not sent
	default:
		a.calls = 1 + n.fetchCalls(rec) // the exchange, and the first fetch
	}
}

// fetchCalls estimates the calls of a fetch from the last one: the list of
// accounts, and the pages of each.
func (r *Replayer) fetchCalls(rec connection.Record) int {
	accounts, pages := max(len(rec.Accounts), 1), 1
	if last := rec.LastFetch; last != nil && last.Accounts > 0 {
		accounts = last.Accounts
		share := (last.Transactions + accounts - 1) / accounts
		pages = max(1, (share+r.cfg.PageSize-1)/r.cfg.PageSize)
	}
	return 1 + accounts*pages
}
