package flow

import (
	"context"
	"errors"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
)

// Keeping is the custody of tokens beyond what an event asks for.
type Keeping interface {
	// Rotate replaces a refresh token that was obtained before obtainedSince, and
	// otherwise only says what is there. Errors: as custody's Access.
	Rotate(ctx context.Context, id string, obtainedSince time.Time) (custody.Grant, error)
	// Resolve takes a call that was begun and never ended to its end. nil: nothing
	// is open. ErrRotationUnknown, ErrRefreshRejected, ErrExchangeUnknown: the end,
	// to be announced; anything else is a verdict to ask again.
	Resolve(ctx context.Context, id string, codeLifetime time.Duration) error
	// Reconsider forgets that finX refused the refresh token, so that the next
	// use asks finX again.
	Reconsider(ctx context.Context, id string) error
	// BringHome stores the answers that Vault could not take in time.
	BringHome(ctx context.Context) (custody.Homecoming, error)
}

// Timers sets the keep-alive timer of a connection; setting it again replaces it.
type Timers interface {
	ScheduleKeepAlive(ctx context.Context, connectionID string, at time.Time) error
}

// Catalogue walks all connection records, in any order and without holding
// them. An error may come after every readable record was seen.
type Catalogue interface {
	List(ctx context.Context, each func(connection.Record) error) error
}

// Inventory names all connections that have a secret, in ascending order. An error
// of each ends it and is returned as it is.
type Inventory interface {
	List(ctx context.Context, each func(id string) error) error
}

// Background is what the work without an event needs. All fields are required,
// but SweepRate may be 0 and Replicas nil.
type Background struct {
	Keeping   Keeping
	Timers    Timers
	Catalogue Catalogue
	Inventory Inventory
	// Lifetime is how long an unused refresh token lives (finX: 90 days).
	Lifetime time.Duration
	// Lead is how much of it must always be left: the token is rotated before.
	Lead time.Duration
	// Notice is the rest at which a token that could not be rotated is news for
	// its user. Below Lead.
	Notice time.Duration
	// Rate is how many rotations a second the keep-alive of all replicas together
	// may make.
	Rate float64
	// Replicas is how many live replicas share Rate, this one included. It is asked
	// at every use and must not block; nil, or less than 1, is one.
	Replicas func() int
	// SweepRate is how many secrets a second the sweep for open journal marks
	// reads; 0 sweeps never.
	SweepRate float64
	// OpenMarks, if set, is told by the sweep how many connections have a token call
	// that was begun and not ended, as far as it knows, those that it could not look
	// at included.
	OpenMarks func(n int)
}

func (b *Background) check() error {
	if b.Keeping == nil || b.Timers == nil || b.Catalogue == nil || b.Inventory == nil {
		return errors.New("flow: background: every collaborator is needed")
	}
	if b.Lead <= 0 || b.Lead >= b.Lifetime || b.Notice <= 0 || b.Notice >= b.Lead {
		return errors.New("flow: background: notice, lead and lifetime must be positive and grow in this order")
	}
	if b.Rate <= 0 || b.SweepRate < 0 {
		return errors.New("flow: background: the rate must be positive, the sweep rate not negative")
	}
	return nil
}
