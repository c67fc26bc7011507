package publisher

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/events"
)

// RequestSync publishes a transactions.sync.requested with that id and time.
// Asking again under the same id within the duplicate window asks once.
func (p *Publisher) RequestSync(ctx context.Context, id string, t time.Time, c events.Cause, r events.SyncRequested) error {
	body, err := events.EncodeInput(events.TypeSyncRequested, id, t, c, r)
	if err != nil {
		return fmt.Errorf("publisher: encoding a sync request: %w", err)
	}
	header := inputHeader(id, r.ConnectionID)
	if c.TraceParent != "" {
		header[events.HeaderTraceParent] = []string{c.TraceParent}
	}
	if c.TraceState != "" {
		header[events.HeaderTraceState] = []string{c.TraceState}
	}
	_, err = p.send(ctx, events.TypeSyncRequested, p.cfg.RequestsStream, &nats.Msg{
		Subject: p.cfg.Codec.Subject(events.TypeSyncRequested), Header: header, Data: body,
	})
	return err
}

// inputHeader names the connection, so that erasure finds the message.
func inputHeader(msgID, connectionID string) nats.Header {
	return nats.Header{
		events.HeaderMsgID:        {msgID},
		events.HeaderContentType:  {events.ContentTypeStructured},
		events.HeaderConnectionID: {connectionID},
	}
}
