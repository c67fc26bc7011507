package natsconn

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Status is what the connection is doing.
type Status string

// The three things a connection can be.
const (
	Connected    Status = "connected"
	Reconnecting Status = "reconnecting" // also before the first connect succeeded
	Closed       Status = "closed"       // for good
)

// State is the connection as readiness sees it.
type State struct {
	Status Status
	Since  time.Time // when Status began
	Server string    // address of the connected server, without credentials
	// Problem is the last thing the broker complained of out of band, such as
	// a permission violation, which a publisher otherwise sees only as a
	// time-out. It outlives a reconnect: the cause rarely goes away with it.
	Problem   string
	ProblemAt time.Time
}

// Err returns nil while the connection can be used, otherwise an error that
// says since when it cannot and why.
func (s State) Err() error {
	if s.Status == Connected {
		return nil
	}
	text := fmt.Sprintf("natsconn: %s since %s", s.Status, s.Since.UTC().Format(time.RFC3339))
	if s.Problem != "" {
		text += ": " + s.Problem
	}
	return errors.New(text)
}

// Tracker keeps the latest State; Observe fits Config.OnState. The zero value
// is ready and says Reconnecting. It is safe for concurrent use.
type Tracker struct {
	mu    sync.Mutex
	state State
}

// Observe takes note of s.
func (t *Tracker) Observe(s State) {
	t.mu.Lock()
	t.state = s
	t.mu.Unlock()
}

// State returns what was observed last.
func (t *Tracker) State() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state.Status == "" {
		return State{Status: Reconnecting}
	}
	return t.state
}

// kindOf sorts an asynchronous error into a small set of metric labels.
func kindOf(err error) string {
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		return kindPermission
	case errors.Is(err, nats.ErrSlowConsumer):
		return kindSlowConsumer
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired),
		errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		return kindAuthorization
	}
	return kindOther
}
