// Package flow is what is done for each event, one file an event.
//
// The order inside a handler is always the same: secret stored, events
// published (the broker's acknowledgement seen), state moved, and only then is
// the delivery settled by whoever called. A crash anywhere leads to a
// redelivery, and a redelivery does the same again under the same ids or finds
// it done.
//
// Handlers know neither NATS nor Vault: they speak to the small interfaces
// below, and return errors whose verdict was decided where the call was made.
package flow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// Records is where the state of each connection is kept, with compare-and-set.
type Records interface {
	Get(ctx context.Context, id string) (connection.Record, uint64, error)
	Create(ctx context.Context, r connection.Record) (uint64, error)
	Update(ctx context.Context, r connection.Record, revision uint64) (uint64, error)
}

// States binds an OAuth state parameter to the connection it was made for.
type States interface {
	BindState(ctx context.Context, state, connectionID string) error
	LookupState(ctx context.Context, state string) (connection.StateBinding, error)
	ConsumeState(ctx context.Context, state string, seen connection.StateBinding, codeSHA256 string, at time.Time) error
}

// Links makes the links that send a human to the bank.
type Links interface {
	CreateAccess(ctx context.Context, r finx.AccessRequest) (finx.Link, error)
	CreateSync(ctx context.Context, r finx.SyncRequest) (finx.Link, error)
}

// Data reads accounts and transactions.
type Data interface {
	Accounts(ctx context.Context, access secret.Text) ([]finx.Account, error)
	Transactions(ctx context.Context, access secret.Text, q finx.TransactionQuery, buf *finx.PageBuffer) (finx.Page, error)
}

// Tokens is the custody of a connection's tokens.
type Tokens interface {
	Exchanged(ctx context.Context, id string, code secret.Text) (custody.Grant, bool, error)
	Exchange(ctx context.Context, id string, code secret.Text, redirectURI string) (custody.Grant, error)
	Access(ctx context.Context, id string) (custody.Grant, error)
	Renew(ctx context.Context, id string, dead secret.Text) (custody.Grant, error)
}

// Bus carries events out. Each call returns after the broker has stored the event.
type Bus interface {
	Publish(ctx context.Context, o events.Output) error
	RequestSync(ctx context.Context, id string, t time.Time, c events.Cause, r events.SyncRequested) error
	ScheduleSync(ctx context.Context, connectionID string, at time.Time, r events.SyncRequested) error
	NewFetch(m FetchMeta) Parts
}

// FetchMeta says what a fetch belongs to.
type FetchMeta struct {
	Cause                                  events.Cause
	ConnectionID, UserID, FetchID, Trigger string
}

// AccountHead is what every part of one account's transactions repeats.
type AccountHead struct {
	ID       string
	Raw      []byte
	Window   events.Window
	SyncedAt string
}

// Parts cuts a fetch into events by bytes and publishes them as they fill. Close
// ends it, whole or not, and may be called again.
type Parts interface {
	StartAccount(h AccountHead)
	// AddPage adds the transactions of a page; more says that finX is still to be
	// asked for others.
	AddPage(ctx context.Context, transactions [][]byte, more bool) error
	FinishAccount(ctx context.Context) (events.AccountFetched, error)
	Close() (eventIDs []string)
}

// Config is what the handlers share.
type Config struct {
	Records Records
	States  States
	Links   Links
	Data    Data
	Tokens  Tokens
	Bus     Bus
	// Lock keeps two fetches of one connection apart, on all replicas.
	Lock custody.LockFunc
	// Redirects says which redirect_uri a connect request may name.
	Redirects events.RedirectPolicy
	// CodeLifetime is how long a code lives after its callback; an older one is
	// not sent (finX documents 1 hour in one place and minutes in another).
	CodeLifetime time.Duration
	// SyncInterval is the time between two fetches of an established connection.
	SyncInterval time.Duration
	// Overlap is how far each window reaches back into the one before.
	Overlap time.Duration
	// SinceType is how finX reads the window: booked, created or modified.
	SinceType string
	// PageSize is the number of transactions asked for at once.
	PageSize int
	Logger   *slog.Logger
	Metrics  *Metrics // nil counts nothing
	// Background is what is done without an event: keep-alive, catch-up, sweep.
	// nil does none of it.
	Background *Background
}

// Flow holds the handlers. Its methods are safe for concurrent use.
type Flow struct {
	Config
	// pages is the memory that the pages of all fetches lie in.
	pages *finx.PagePool
	// honoured is the largest page size that finX has filled.
	honoured atomic.Int64
	// permits bounds the rotations of the keep-alive in this process.
	permits *permits
	// surveyed is set once this process knows what is overdue, or that another
	// replica is seeing to it.
	surveyed atomic.Bool
	began    time.Time
	sweepPos sweepPos
	// leftOpen is how many token calls the last sweep that ended left open.
	leftOpen atomic.Int64
}

// New returns the handlers.
func New(c Config) (*Flow, error) {
	if c.Records == nil || c.States == nil || c.Links == nil || c.Data == nil || c.Tokens == nil || c.Bus == nil || c.Lock == nil || c.Logger == nil {
		return nil, errors.New("flow: every collaborator is needed")
	}
	if c.PageSize < 1 || c.SyncInterval <= 0 || c.CodeLifetime <= 0 {
		return nil, errors.New("flow: page size, sync interval and code lifetime must be positive")
	}
	f := &Flow{Config: c, began: time.Now(), pages: finx.NewPagePool(pageMemory)}
	if c.Background != nil {
		if err := c.Background.check(); err != nil {
			return nil, err
		}
		f.permits = newPermits(c.Background.Rate, c.Background.Replicas)
	}
	return f, nil
}

// record returns the connection that an event names, or a dead letter that
// names the field.
func (f *Flow) record(ctx context.Context, id string) (connection.Record, uint64, error) {
	rec, rev, err := f.Records.Get(ctx, id)
	if errors.Is(err, connection.ErrNotFound) {
		return rec, 0, fault.Permanent(fault.Rejected, &events.FieldError{Field: "connection_id", Problem: "no such connection"})
	}
	if err != nil {
		return rec, 0, fmt.Errorf("flow: reading the connection: %w", err)
	}
	traceOf(ctx, rec)
	return rec, rev, nil
}

// traceOf says in the trace of the event which connection it turned out to be about.
func traceOf(ctx context.Context, rec connection.Record) {
	telemetry.SpanOf(ctx).Text(telemetry.KeyConnection, rec.ID)
}

// editTries bounds how often a change is applied again after somebody else
// wrote; past it the delivery comes back.
const editTries = 8

// edit writes a change of the record. change gets the record as it stands and
// may be called again with a newer one, so it must not rely on what it saw before.
func (f *Flow) edit(ctx context.Context, rec connection.Record, rev uint64,
	change func(connection.Record) (connection.Record, error),
) error {
	for try := 1; ; try++ {
		next, err := change(rec)
		if err != nil {
			return fault.Permanent(fault.Rejected, fmt.Errorf("flow: changing the connection: %w", err))
		}
		_, err = f.Records.Update(ctx, next, rev)
		if err == nil {
			return nil
		}
		if !errors.Is(err, connection.ErrConflict) || try == editTries {
			return fmt.Errorf("flow: writing the connection: %w", err)
		}
		if rec, rev, err = f.Records.Get(ctx, rec.ID); err != nil {
			return fmt.Errorf("flow: reading the connection again: %w", err)
		}
	}
}
