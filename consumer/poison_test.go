package consumer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

const code = "AUTHCODE-7f3a9b-CANARY"

// callbacks is a lane as the callback lane is wired.
func callbacks(_ *consumer.Config, l *consumer.Lane) {
	l.Slots, l.Redact = 1, events.RedactCallback
}

func TestPoisonDoesNotBlock(t *testing.T) {
	r := newRig(t, 30*time.Second)
	handled := make(chan events.CallbackReceived, 1)
	run := r.run(consumer.On(codec(), events.DecodeCallbackReceived,
		func(_ context.Context, _ events.Envelope, c events.CallbackReceived) error {
			handled <- c
			return nil
		}), callbacks)
	run.waitReady()
	begin := time.Now()
	bad := r.publish(`{"success":true,"code":"`+code+`"}`, nats.Header{"Nats-Msg-Id": {"cb-1"}, "traceparent": {"00-1-2-01"}, "X-Url": {"https://x/?code=" + code}})
	r.publish(`{"state":"st-1","success":true,"code":"`+code+`"}`, nil)
	select {
	case c := <-handled:
		if c.State != "st-1" {
			t.Errorf("state %q", c.State)
		}
	case <-time.After(soon):
		t.Fatal("the good message behind the bad one is not handled")
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("the good message took %s, far less than AckWait expected", took)
	} else {
		t.Logf("the good message took %s", took)
	}
	m := r.deadLetter(1)
	want := map[string]string{
		consumer.HeaderReason: "malformed", consumer.HeaderStream: stream, consumer.HeaderSequence: "1",
		consumer.HeaderSubject: subject, consumer.HeaderConsumer: durable, consumer.HeaderAttempts: "1",
		consumer.HeaderOriginalID: "cb-1", "Nats-Msg-Id": "dlq:" + stream + ":1", "traceparent": "00-1-2-01",
	}
	for name, value := range want {
		if got := m.Header.Get(name); got != value {
			t.Errorf("header %s is %q, want %q", name, got, value)
		}
	}
	if m.Subject != "dlq."+subject || bad != 1 {
		t.Errorf("subject %q", m.Subject)
	}
	if text := m.Header.Get(consumer.HeaderError); !strings.Contains(text, "state") || strings.Contains(text, "\n") {
		t.Errorf("error %q, want one line naming the field", text)
	}
	if at, err := time.Parse(time.RFC3339, m.Header.Get(consumer.HeaderTime)); err != nil || time.Since(at) > time.Minute {
		t.Errorf("time %q", m.Header.Get(consumer.HeaderTime))
	}
	if all := headerText(m.Header) + string(m.Data) + r.log.String(); strings.Contains(all, code) {
		t.Errorf("the code is in the dead letter or in the log: %s", all)
	}
	if !bytes.Contains(m.Data, []byte("success")) {
		t.Errorf("body %q, want everything but the code", m.Data)
	}
}

func headerText(h nats.Header) string {
	var b strings.Builder
	for name, values := range h {
		b.WriteString(name + ": " + strings.Join(values, ",") + "\n")
	}
	return b.String()
}

// TestCarelessErrorQuotesTheCode: an error text that holds the code does not get
// it into the dead letter or the log.
func TestCarelessErrorQuotesTheCode(t *testing.T) {
	r := newRig(t, 30*time.Second)
	r.publish(`{"state":"s","code":"`+code+`"}`, nil)
	r.run(func(context.Context, consumer.Delivery) error {
		return fault.Permanent(fault.Rejected, &quoting{"flow: exchanging " + code + ":\nrefused"})
	}, callbacks)
	r.eventually("dead letter", func() bool { return r.deadLetters() == 1 })
	r.eventually("log line", func() bool { return len(r.log.lines(t, "delivery settled")) == 1 })
	m := r.deadLetter(1)
	if all := headerText(m.Header) + string(m.Data) + r.log.String(); strings.Contains(all, code) {
		t.Errorf("the code leaked: %s", all)
	}
	if m.Header.Get(consumer.HeaderError) == "" {
		t.Error("no error line at all")
	}
}

// TestTheMessageIsRedactedOnce: it takes a look at every byte, of a message that
// may be large, on a lane that is short of time.
func TestTheMessageIsRedactedOnce(t *testing.T) {
	r := newRig(t, 30*time.Second)
	acks := r.acks()
	r.publish(`{"state":"s","code":"`+code+`"}`, nil)
	var redactions atomic.Int32
	r.run(func(context.Context, consumer.Delivery) error {
		return fmt.Errorf("%s: %w: %s", code, fault.Permanent(fault.Malformed, &events.FieldError{Field: "code", Problem: "missing"}), code)
	}, func(_ *consumer.Config, l *consumer.Lane) {
		l.Redact = func(m events.Message, texts ...string) (events.Message, []string) {
			redactions.Add(1)
			return events.RedactCallback(m, texts...)
		}
	})
	acks.WaitVerdicts(t, 1, soon)
	r.eventually("log line", func() bool { return len(r.log.lines(t, "delivery settled")) == 1 })
	if n := redactions.Load(); n != 1 {
		t.Errorf("redacted %d times, want once for dead letter, error line and log line", n)
	}
	m := r.deadLetter(1)
	if text := m.Header.Get(consumer.HeaderError); text != "[redacted]code: missing[redacted]" {
		t.Errorf("error %q, want the field error as it is and nothing of what quotes the code", text)
	}
	if all := headerText(m.Header) + string(m.Data) + r.log.String(); strings.Contains(all, code) {
		t.Errorf("the code leaked: %s", all)
	}
}

// TestNothingIsRedactedForAnAck: most messages go well, and their log line says
// nothing of them but the subject. Only one with tokens of its own can hold a code.
func TestNothingIsRedactedForAnAck(t *testing.T) {
	r := newRig(t, 30*time.Second)
	var redactions atomic.Int32
	r.run(func(context.Context, consumer.Delivery) error { return nil }, func(_ *consumer.Config, l *consumer.Lane) {
		l.Redact = func(m events.Message, texts ...string) (events.Message, []string) {
			redactions.Add(1)
			return events.RedactCallback(m, texts...)
		}
	})
	settled := func(n int) func() bool { return func() bool { return len(r.log.lines(t, "delivery settled")) == n } }
	body := `{"state":"s","code":"` + code + `"}`
	r.publish(body, nil)
	r.eventually("log line", settled(1))
	if n := redactions.Load(); n != 0 {
		t.Errorf("redacted %d times", n)
	}
	_, err := r.js.PublishMsg(r.ctx(), &nats.Msg{Subject: subject + "." + code, Data: []byte(body)})
	r.must(err)
	r.eventually("log line", settled(2))
	if n := redactions.Load(); n != 1 {
		t.Errorf("redacted %d times for a subject with the code", n)
	}
	for i, want := range []string{subject, subject + ".redacted"} {
		if got := r.log.lines(t, "delivery settled")[i]["subject"]; got != want {
			t.Errorf("subject %v in the log, want %s", got, want)
		}
	}
}

type quoting struct{ text string }

func (q *quoting) Error() string { return q.text }

func TestDeadLetterOfTheLargestMessage(t *testing.T) {
	r := newRig(t, 30*time.Second)
	body := strings.Repeat("x", 1<<20) // max_payload without a byte for headers
	seq := r.publish(body, nil)
	acks := r.acks()
	r.run(func(context.Context, consumer.Delivery) error { return fault.Permanent(fault.Oversize, errBoom) })
	if got := acks.WaitVerdicts(t, 1, soon)[0]; got.Body != "+TERM oversize" {
		t.Errorf("answer %q, want +TERM oversize", got.Body)
	}
	m := r.deadLetter(1)
	var note struct {
		Withheld, SHA256, Stream string
		Bytes                    int
		Sequence                 uint64
	}
	if err := json.Unmarshal(m.Data, &note); err != nil {
		t.Fatalf("body %.80q: %v", m.Data, err)
	}
	sum := sha256.Sum256([]byte(body))
	if note.Bytes != len(body) || note.SHA256 != hex.EncodeToString(sum[:]) || note.Stream != stream || note.Sequence != seq || note.Withheld == "" {
		t.Errorf("note %+v", note)
	}
	s, err := r.js.Stream(r.ctx(), stream)
	r.must(err)
	if kept, err := s.GetMsg(r.ctx(), note.Sequence); err != nil || len(kept.Data) != len(body) {
		t.Errorf("the original is gone: %v", err)
	}
}

// TestDeadLetterThatCannotBeStored: nothing is terminated before the dead letter
// is acknowledged, and when its stream is there again it gets there.
func TestDeadLetterThatCannotBeStored(t *testing.T) {
	tests := map[string]struct{ away, back func(r *rig) }{
		"stream missing": {
			func(r *rig) { r.must(r.js.DeleteStream(r.ctx(), dlq)) },
			func(r *rig) { r.addStream(dlq, "dlq.>") },
		},
		"stored in a stream that is not ours": {
			func(r *rig) {
				r.must(r.js.DeleteStream(r.ctx(), dlq))
				r.addStream("OTHER", "dlq.>")
			},
			func(r *rig) {
				r.must(r.js.DeleteStream(r.ctx(), "OTHER"))
				r.addStream(dlq, "dlq.>")
			},
		},
		"acknowledgement lost": { // a listener without an answer instead of the stream
			func(r *rig) {
				r.must(r.js.DeleteStream(r.ctx(), dlq))
				sub, err := r.js.Conn().SubscribeSync("dlq.>")
				r.must(err)
				r.Cleanup(func() { _ = sub.Unsubscribe() })
			},
			func(r *rig) { r.addStream(dlq, "dlq.>") },
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 30*time.Second)
			tc.away(r)
			acks := r.acks()
			r.publish("x", nil)
			r.run(func(context.Context, consumer.Delivery) error { return fault.Permanent(fault.Rejected, errBoom) },
				func(c *consumer.Config, _ *consumer.Lane) { c.DeadLetterTimeout = 300 * time.Millisecond })
			first := acks.WaitVerdicts(t, 1, soon)[0]
			if body, _ := splitNak(t, first); body != "-NAK" {
				t.Errorf("answer %q while the dead letter is not stored, want -NAK", body)
			}
			tc.back(r)
			r.eventually("terminated", ended(acks, "+TERM rejected"))
			if n := r.deadLetters(); n != 1 {
				t.Errorf("%d dead letters, want 1", n)
			}
			r.eventually("log line", func() bool {
				return slices.ContainsFunc(r.log.lines(t, "delivery settled"), func(line map[string]any) bool {
					return line["level"] == "ERROR" && line["outcome"] == "dead_letter_not_stored"
				})
			})
		})
	}
}
