package consumer_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/consumer"
)

// A timer's event that waits, parked, while the next one of its connection comes due
// is replaced by that one. That is the end of it, and no dead letter: after an outage
// there would be one for each connection, of which none could be redriven.
func TestParkedTimerIsReplaced(t *testing.T) {
	t.Parallel() // it waits for the most part
	const on = "finx.due.sync.6f9619ff-8b86-5011-b42d-00c04fc964ff"
	r := newParkRig(t, 30*time.Second)
	dueAcks := r.dueAcks()
	handle, got := inOrder(waits(), nil)
	comesDue := func(body string) uint64 {
		ack, err := r.js.PublishMsg(r.ctx(), &nats.Msg{Subject: on, Data: []byte(body), Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}})
		r.must(err)
		return ack.Sequence
	}
	first := comesDue("first")
	r.run(handle, parking, due(func(l *consumer.Lane) { l.Handle = handle }))
	if d := next(t, got); d.Sequence != first {
		t.Fatalf("sequence %d came first", d.Sequence)
	}
	r.eventually("parked", func() bool { return len(r.waiting(timers)) == 1 && r.pending() == 0 })
	second := comesDue("second")
	if d := next(t, got); d.Sequence != second {
		t.Errorf("sequence %d came second", d.Sequence)
	}
	for i, a := range dueAcks.WaitVerdicts(t, 3, soon) { // parked, replaced by, come back
		if a.Body != "+ACK" {
			t.Errorf("answer %d: %q", i, a.Body)
		}
	}
	s, err := r.js.Stream(r.ctx(), dlq)
	r.must(err)
	if n := s.CachedInfo().State.Msgs; n != 0 || len(got) != 0 {
		t.Errorf("%d dead letters, handled %d times more", n, len(got))
	}
}
