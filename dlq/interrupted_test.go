package dlq_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// interrupting is a broker at which an operator loses patience with each publish.
type interrupting struct {
	jetstream.JetStream

	interrupt context.CancelFunc
}

func (i interrupting) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	i.interrupt()
	return i.JetStream.PublishMsg(ctx, m, opts...)
}

// What is being stored when an operator interrupts is waited for: without the
// answer its letter would stay, and be redriven a second time.
func TestAnInterruptedRedriveLeavesNoLetterOfWhatIsStored(t *testing.T) {
	r := newRig(t, events.Codec{})
	r.publish(t, "user.connect.requested", "m-1", connectBody)
	r.giveUp(t, 1, fault.Outage)
	e := r.prepare(t)
	ctx, interrupt := context.WithCancel(t.Context())
	q, err := dlq.New(dlq.Config{JS: interrupting{r.js, interrupt}, PublishBudget: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := q.Redrive(ctx, e, "run-1")
	if err != nil || receipt.Sequence != 2 || ctx.Err() == nil {
		t.Errorf("%+v, %v", receipt, err)
	}
	if stored, left := r.count(t, events.StreamRequests), r.count(t, events.StreamDLQ); stored != 2 || left != 0 {
		t.Errorf("%d stored, %d letters left", stored, left)
	}
}
