package replay

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
)

// audit publishes the record of how a run ended. The same end has the same id.
func (j *Job) audit(ctx context.Context, c checkpoint) (*jetstream.PubAck, error) {
	outcome := events.ReplayCompletedOutcome
	if c.State == Interrupted {
		outcome = events.ReplayInterruptedOutcome
	}
	o := events.NewReplayCompleted(events.ReplayCompleted{
		ReplayID: c.ID, Mode: string(c.Request.Mode), By: c.Request.By, Reason: c.Request.Reason,
		StartedAt: c.StartedAt, FinishedAt: c.FinishedAt, Outcome: outcome, Selection: c.Request.record(), To: c.Request.To,
		Matched: c.Matched, Replayed: c.Counts.Replayed, Duplicates: c.Counts.Duplicates, Skipped: c.Counts.Skipped,
		Failed: c.Counts.Failed, Bytes: c.Counts.Bytes, BankCallsEstimated: c.BankCalls,
	})
	msg := &nats.Msg{
		Subject: j.r.cfg.Codec.Subject(o.Type), Header: events.HeadersFor(o), Data: o.AppendJSON(nil),
	}
	ack, err := j.r.publish(ctx, msg, j.r.cfg.Streams.Events)
	if err != nil {
		return nil, fmt.Errorf("replay: publishing the record of %s, which resuming it repeats: %w", c.ID, err)
	}
	return ack, nil
}
