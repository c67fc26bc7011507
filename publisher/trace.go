package publisher

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// waitForMemory is the span of a wait for room to build a part in.
const waitForMemory = "wait for memory"

// trace begins the span of a publish. The message does not carry it: what its reader
// goes on from is the delivery that made it, the same for all messages of one.
func (p *Publisher) trace(ctx context.Context, typ, stream string, msg *nats.Msg) (context.Context, telemetry.Span) {
	ctx, span := telemetry.Start(ctx, telemetry.Producer, "send "+typ)
	if span.Recorded() {
		span.Text(telemetry.KeyMessaging, telemetry.Messaging)
		span.Text(telemetry.KeyOperation, "send")
		span.Text(telemetry.KeyOperationType, "send")
		span.Text(telemetry.KeyDestination, p.cfg.Codec.Subject(typ))
		span.Text(telemetry.KeyMessageID, msg.Header[events.HeaderMsgID][0])
		span.Int(telemetry.KeyBodySize, len(msg.Data))
		span.Text(telemetry.KeyStream, stream)
		if id := msg.Header[events.HeaderConnectionID]; len(id) > 0 {
			span.Text(telemetry.KeyConnection, id[0])
		}
	}
	return ctx, span
}

// traced ends the span of a publish.
func traced(span telemetry.Span, ack *jetstream.PubAck, err error) {
	if err == nil {
		span.Int(telemetry.KeySequence, int(ack.Sequence)) //nolint:gosec // sequences stay far below the limit
		span.Flag(telemetry.KeyDuplicate, ack.Duplicate)
	}
	span.End(err)
}
