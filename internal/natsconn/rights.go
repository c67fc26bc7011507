package natsconn

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// answerWithin bounds one round trip to the broker.
const answerWithin = 5 * time.Second

// ErrTooOld says that the server cannot trace a message without delivering it,
// which came with 2.11.
var ErrTooOld = errors.New("the server is older than 2.11")

// Rights asks the broker which of these subjects this connection may not publish to,
// and whether it may publish to one that nobody has named in a permission.
//
// Nothing is published: each question is a message to be traced and not delivered,
// which the server holds against the permissions as any other and then drops. It
// does hand one to itself where a consumer listens to pulls and acknowledgements, so
// a subject of those must be of a form that does nothing there. The trace goes to the
// first of traces that this user may publish to; they must be questions to the server,
// which throws away what it cannot read. May it ask none, the error is ErrForbidden.
//
// What the broker refuses is told to Config.OnState as well, and later: a Complaints
// would lay it to the request that follows.
func Rights(ctx context.Context, nc *nats.Conn, traces, subjects []string) (denied []string, anything bool, err error) {
	if !atLeast(nc.ConnectedServerVersion(), 2, 11) {
		return nil, false, fmt.Errorf("natsconn: trying subjects: %w", ErrTooOld)
	}
	trace := ""
	for _, candidate := range traces {
		ok, err := mayPublish(ctx, nc, candidate, candidate)
		if err != nil {
			return nil, false, fmt.Errorf("natsconn: trying subjects: %w", err)
		}
		if ok {
			trace = candidate
			break
		}
	}
	if trace == "" {
		return nil, false, fmt.Errorf("natsconn: trying subjects: %w: Publish to any of %s", ErrForbidden, strings.Join(traces, ", "))
	}
	unheard := "finx-connector-doctor." + rand.Text()
	for _, subject := range append([]string{unheard}, subjects...) {
		ok, err := mayPublish(ctx, nc, trace, subject)
		if err != nil {
			return denied, anything, fmt.Errorf("natsconn: trying subjects: %w", err)
		}
		switch {
		case subject == unheard:
			anything = ok
		case !ok:
			denied = append(denied, subject)
		}
	}
	return denied, anything, nil
}

// mayPublish sends one question. A refusal comes before the answer to the ping that
// follows it, and the client keeps it as its last error.
func mayPublish(ctx context.Context, nc *nats.Conn, trace, subject string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin) // a flush has to have an end
	defer cancel()
	err := nc.PublishMsg(&nats.Msg{Subject: subject, Header: nats.Header{
		"Nats-Trace-Dest": {trace}, "Nats-Trace-Only": {"true"},
		// Should a server of another make deliver it all the same, no stream keeps it.
		"Nats-Expected-Stream": {"finx-connector-doctor"},
	}})
	if err == nil {
		err = nc.FlushWithContext(ctx)
	}
	if err != nil {
		return false, err
	}
	refused := nc.LastError()
	if refused == nil || !errors.Is(refused, nats.ErrPermissionViolation) {
		return true, nil
	}
	return !strings.Contains(refused.Error(), strconv.Quote(subject)), nil
}

// atLeast compares versions of the form 2.14.3 or v2.14.0-RC.1.
func atLeast(version string, major, minor int) bool {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return false
	}
	x, errX := strconv.Atoi(parts[0])
	y, errY := strconv.Atoi(parts[1])
	return errX == nil && errY == nil && (x > major || x == major && y >= minor)
}
