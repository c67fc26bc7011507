package consumer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// TestALetterOfAStreamMadeAgainIsNoCopy: within the dedupe window the place of one
// message was another's, so the ids of their dead letters are the same.
func TestALetterOfAStreamMadeAgainIsNoCopy(t *testing.T) {
	r := newRig(t, time.Second)
	refuse := func(context.Context, consumer.Delivery) error {
		return fault.Permanent(fault.Rejected, errors.New("not today"))
	}
	bury := func(body string) (letters int) {
		t.Helper()
		before := r.info().AckFloor.Consumer
		run := r.run(refuse)
		r.publish(body, nil)
		r.eventually("settled", func() bool { return r.info().AckFloor.Consumer > before })
		run.stop()
		return r.deadLetters()
	}
	if n := bury(`{"state":"one"}`); n != 1 {
		t.Fatalf("%d dead letters, want 1", n)
	}
	// The same message again, as after a crash between its dead letter and its answer.
	r.must(r.js.DeleteConsumer(r.ctx(), stream, durable))
	r.addConsumer()
	run := r.run(refuse)
	r.eventually("settled again", func() bool { return r.info().AckFloor.Stream == 1 })
	run.stop()
	if n := r.deadLetters(); n != 1 {
		t.Fatalf("%d dead letters of one message", n)
	}
	r.must(r.js.DeleteStream(r.ctx(), stream))
	r.addStream(stream, subject, subject+".>")
	r.addConsumer()
	if n := bury(`{"state":"one"}`); n != 2 { // even with the same body
		t.Fatalf("%d dead letters of two messages", n)
	}
	first, second := r.deadLetter(1), r.deadLetter(2)
	if a, b := first.Header.Get(events.HeaderMsgID), second.Header.Get(events.HeaderMsgID); a != "dlq:"+stream+":1" || b != a+":"+second.Header.Get(consumer.HeaderOriginalTime) {
		t.Errorf("ids %q and %q", a, b)
	}
}

// TestALetterOfBeforeHasNoTime: one that an older version wrote is told by its body.
func TestALetterOfBeforeHasNoTime(t *testing.T) {
	for body, want := range map[string]int{`{"state":"one"}`: 1, `{"state":"two"}`: 2} {
		r := newRig(t, time.Second)
		_, err := r.js.PublishMsg(r.ctx(), &nats.Msg{Subject: "dlq." + subject, Data: []byte(`{"state":"one"}`), Header: nats.Header{events.HeaderMsgID: {"dlq:" + stream + ":1"}}})
		r.must(err)
		r.run(func(context.Context, consumer.Delivery) error {
			return fault.Permanent(fault.Rejected, errors.New("not today"))
		})
		r.publish(body, nil)
		r.eventually("settled", func() bool { return r.info().AckFloor.Stream == 1 })
		if n := r.deadLetters(); n != want {
			t.Errorf("%s: %d dead letters, want %d", body, n, want)
		}
	}
}
