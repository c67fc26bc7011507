package dlq_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

const connectBody = `{"user_id":"u","redirect_uri":"https://app.example/cb"}`

// envelope is what the connector reads of a stored message.
func (r *rig) envelope(t *testing.T, m events.Message) events.Envelope {
	t.Helper()
	e, err := r.codec.Parse(m)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestARedrivenEventIsTheSameEvent(t *testing.T) {
	structured, err := events.EncodeInput(events.TypeConnectRequested, "e-1", time.Now(), events.Cause{}, []byte(connectBody))
	if err != nil {
		t.Fatal(err)
	}
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, tc := range map[string]struct {
		id, body string
		headers  []string
	}{
		"structured":     {"m-1", string(structured), []string{"Content-Type", events.ContentTypeStructured}},
		"binary":         {"m-1", connectBody, []string{"ce-id", "e-2", "ce-source", "/up", "ce-type", "user.connect.requested", "ce-specversion", "1.0"}},
		"bare with id":   {"m-1", connectBody, []string{"content-type", "text/plain", "X-Team", "a", "traceparent", trace}},
		"bare, no id":    {"", connectBody, nil},
		"nats's headers": {"m-1", connectBody, []string{"Nats-Expected-Stream", events.StreamRequests}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, events.Codec{Prefix: "acme"})
			r.publish(t, "acme.user.connect.requested.eu", tc.id, tc.body, tc.headers...)
			before := r.envelope(t, r.last(t, events.StreamRequests))
			r.giveUp(t, 1, fault.Outage)
			e := r.prepare(t)
			if e.Wrong != nil || e.Refetched {
				t.Fatalf("%v, %v", e.Wrong, e.Refetched)
			}
			receipt, err := r.queue.Redrive(t.Context(), e, "run-1")
			if err != nil || receipt != (dlq.Receipt{Stream: events.StreamRequests, Sequence: 2}) {
				t.Fatalf("%+v, %v", receipt, err)
			}
			m := r.last(t, events.StreamRequests)
			after := r.envelope(t, m)
			if after.ID != before.ID || after.Source != before.Source || after.TraceParent != before.TraceParent ||
				!bytes.Equal(after.Data, before.Data) || m.Subject != "acme.user.connect.requested.eu" {
				t.Errorf("%+v\nwas\n%+v", after, before)
			}
			if id := m.Header[events.HeaderMsgID]; len(id) != 1 || id[0] != "redrive:1:run-1" {
				t.Errorf("Nats-Msg-Id %q", id)
			}
			for header := range m.Header {
				if strings.HasPrefix(header, "Dlq-") || strings.HasPrefix(header, "Nats-Expected") {
					t.Errorf("header %s", header)
				}
			}
			if name == "bare with id" && m.Header["X-Team"][0] != "a" {
				t.Errorf("headers %v", m.Header)
			}
			if n := r.count(t, events.StreamDLQ); n != 0 {
				t.Errorf("%d dead letters are left", n)
			}
		})
	}
}

// What a timer turned into is redriven like any input: to the subject on which it
// came due, in the stream of the timers.
func TestADueTimerIsRedriven(t *testing.T) {
	const connection = "7d0f6d3c-2f5c-5d0e-9a57-1f0f2b6a4c11"
	for typ, tc := range map[string]struct {
		subject string
		data    any
	}{
		events.TypeSyncRequested: {events.SubjectDueSync, events.SyncRequested{ConnectionID: connection}},
		events.TypeKeepAliveDue:  {events.SubjectDueKeepAlive, events.KeepAliveDue{ConnectionID: connection}},
	} {
		t.Run(tc.subject, func(t *testing.T) {
			r := newRig(t, events.Codec{Prefix: "acme"})
			body, err := events.EncodeInput(typ, "e-1", time.Now(), events.Cause{}, tc.data)
			if err != nil {
				t.Fatal(err)
			}
			subject := "acme." + tc.subject + "." + connection
			r.publish(t, subject, "", string(body), "Content-Type", events.ContentTypeStructured)
			r.giveUp(t, 1, fault.Outage)
			if l := r.last(t, events.StreamDLQ); l.Subject != "acme.dlq."+tc.subject+"."+connection {
				t.Errorf("dead letter on %s", l.Subject)
			}
			e := r.prepare(t)
			if e.Wrong != nil {
				t.Fatal(e.Wrong)
			}
			if receipt, err := r.queue.Redrive(t.Context(), e, "run"); err != nil || receipt.Stream != events.StreamTimers {
				t.Fatalf("%+v, %v", receipt, err)
			}
			m := r.last(t, events.StreamTimers)
			if m.Subject != subject || r.envelope(t, m).ID != "e-1" || r.envelope(t, m).Type != typ {
				t.Errorf("%s: %+v", m.Subject, r.envelope(t, m))
			}
		})
	}
}

func TestACallbackIsReadAgainWithItsCode(t *testing.T) {
	r := newRig(t, events.Codec{})
	body := `{"callback_url":"https://app.example/cb?state=s&success=true&code=` + canaryCode + `"}`
	r.publish(t, events.TypeCallbackReceived, "", body)
	original := r.last(t, events.StreamCallbacks)
	r.giveUp(t, 1, fault.Outage)
	if letter := r.last(t, events.StreamDLQ); strings.Contains(fmt.Sprint(string(letter.Data), letter.Header), canaryCode) {
		t.Fatal("the dead letter has the code")
	}
	e := r.prepare(t)
	if !e.Refetched || e.Wrong != nil {
		t.Fatalf("%v, %v", e.Refetched, e.Wrong)
	}
	for _, printed := range []string{fmt.Sprint(e), fmt.Sprintf("%+v %#v %s", e, e, &e)} {
		if strings.Contains(printed, canaryCode) {
			t.Error(printed)
		}
	}
	if js, err := json.Marshal(e); err != nil || strings.Contains(string(js), canaryCode) {
		t.Errorf("%s, %v", js, err)
	}
	if _, err := r.queue.Redrive(t.Context(), e, "run"); err != nil {
		t.Fatal(err)
	}
	again := r.envelope(t, r.last(t, events.StreamCallbacks))
	was := r.envelope(t, original)
	c, err := events.DecodeCallbackReceived(again)
	if err != nil || c.Code.Reveal() != canaryCode || again.ID != was.ID || !again.Time.Equal(was.Time) {
		t.Errorf("%+v (%v), was %+v", again, err, was)
	}
}

func TestAWithheldBodyIsReadAgain(t *testing.T) {
	r := newRig(t, events.Codec{})
	body := `{"user_id":"u","redirect_uri":"https://app.example/cb","x":"` + strings.Repeat("x", 20<<10) + `"}`
	r.publish(t, events.TypeConnectRequested, "m-1", body)
	s := r.stream(t, events.StreamDLQ)
	cfg := s.CachedInfo().Config
	cfg.MaxMsgSize = 16 << 10
	if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	r.giveUp(t, 1, fault.Outage)
	if l := r.letters(t, dlq.Filter{})[0]; !l.Withheld() {
		t.Fatalf("%d bytes are kept", len(l.Data))
	}
	e := r.prepare(t)
	if !e.Refetched || e.Wrong != nil {
		t.Fatalf("%v, %v", e.Refetched, e.Wrong)
	}
	if _, err := r.queue.Redrive(t.Context(), e, "run"); err != nil {
		t.Fatal(err)
	}
	if m := r.last(t, events.StreamRequests); string(m.Data) != body || r.envelope(t, m).ID != "m-1" {
		t.Errorf("%d bytes, %v", len(m.Data), m.Header)
	}
}

func TestWhatCannotBeRedrivenIsRefused(t *testing.T) {
	callback := `{"state":"s","code":"` + canaryCode + `"}`
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, r *rig)
		why   string
	}{
		"the original is gone": {func(t *testing.T, r *rig) {
			if err := r.stream(t, events.StreamCallbacks).DeleteMsg(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}, `"FINX_CALLBACKS" sequence 1, is gone`},
		"its stream is gone": {func(t *testing.T, r *rig) {
			if err := r.js.DeleteStream(t.Context(), events.StreamCallbacks); err != nil {
				t.Fatal(err)
			}
		}, `"FINX_CALLBACKS" sequence 1, is gone`},
		"the stream was made again": {func(t *testing.T, r *rig) {
			cfg := r.stream(t, events.StreamCallbacks).CachedInfo().Config
			if err := r.js.DeleteStream(t.Context(), events.StreamCallbacks); err != nil {
				t.Fatal(err)
			}
			if _, err := r.js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			r.publish(t, events.TypeCallbackReceived, "m-1", callback)
		}, "younger than the dead letter"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, events.Codec{})
			r.publish(t, events.TypeCallbackReceived, "m-1", callback)
			r.giveUp(t, 1, fault.Outage)
			l := r.letters(t, dlq.Filter{})[0]
			tc.spoil(t, r)
			_, err := r.queue.Prepare(t.Context(), l)
			refused, ok := errors.AsType[*dlq.RefusedError](err)
			if !ok || refused.Sequence != 1 || !strings.Contains(refused.Why, tc.why) || strings.Contains(err.Error(), canaryCode) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("no input", func(t *testing.T) {
		r := newRig(t, events.Codec{})
		for _, subject := range []string{"", "somebody.elses", events.TypeFetchCompleted} {
			_, err := r.queue.Prepare(t.Context(), dlq.Letter{Sequence: 4, Original: dlq.Original{Subject: subject}})
			if _, ok := errors.AsType[*dlq.RefusedError](err); !ok {
				t.Errorf("%q: %v", subject, err)
			}
		}
	})
	t.Run("another message", func(t *testing.T) {
		r := newRig(t, events.Codec{})
		r.publish(t, events.TypeCallbackReceived, "m-1", callback)
		at := dlq.Original{Stream: events.StreamCallbacks, Sequence: 1, Subject: events.TypeCallbackReceived, MsgID: "m-2"}
		_, err := r.queue.Prepare(t.Context(), dlq.Letter{Original: at, Stored: time.Now().Add(time.Hour)})
		if err == nil || !strings.Contains(err.Error(), "Nats-Msg-Id is another") {
			t.Errorf("%v", err)
		}
		at.MsgID = "m-1"
		note := fmt.Sprintf(`{"withheld":"too large","bytes":9,"sha256":%q}`, strings.Repeat("0", 64))
		_, err = r.queue.Prepare(t.Context(), dlq.Letter{Original: at, Stored: time.Now().Add(time.Hour), Data: []byte(note)})
		if err == nil || !strings.Contains(err.Error(), "digest is another") {
			t.Errorf("%v", err)
		}
	})
}

func TestWhatIsStillMalformedSaysSo(t *testing.T) {
	r := newRig(t, events.Codec{})
	r.publish(t, events.TypeConnectRequested, "", `{"redirect_uri":"https://app.example/cb"}`)
	r.giveUp(t, 1, fault.Malformed)
	e := r.prepare(t)
	if fe, ok := errors.AsType[*events.FieldError](e.Wrong); !ok || fe.Field != "user_id" {
		t.Errorf("%v", e.Wrong)
	}
	// Whoever knows better may send it all the same.
	if _, err := r.queue.Redrive(t.Context(), e, "run"); err != nil || r.count(t, events.StreamRequests) != 2 {
		t.Errorf("%v", err)
	}
}

func TestADuplicateWasNotRedriven(t *testing.T) {
	r := newRig(t, events.Codec{})
	r.publish(t, events.TypeConnectRequested, "", connectBody)
	r.giveUp(t, 1, fault.Outage)
	e := r.prepare(t)
	r.publish(t, events.TypeConnectRequested, "redrive:1:run", connectBody)
	receipt, err := r.queue.Redrive(t.Context(), e, "run")
	if !errors.Is(err, dlq.ErrDuplicate) || fault.Of(err) != fault.GiveUp || receipt != (dlq.Receipt{}) {
		t.Errorf("%+v, %v", receipt, err)
	}
	if r.count(t, events.StreamDLQ) != 1 || r.count(t, events.StreamRequests) != 2 {
		t.Error("something was stored or deleted")
	}
	if _, err := r.queue.Redrive(t.Context(), e, "another run"); err != nil {
		t.Error(err)
	}
}

func TestNoStreamTakesTheEvent(t *testing.T) {
	r := newRig(t, events.Codec{})
	r.publish(t, events.TypeConnectRequested, "", connectBody)
	r.giveUp(t, 1, fault.Outage)
	e := r.prepare(t)
	if err := r.js.DeleteStream(t.Context(), events.StreamRequests); err != nil {
		t.Fatal(err)
	}
	if _, err := r.queue.Redrive(t.Context(), e, "run"); err == nil || !strings.Contains(err.Error(), "no stream takes user.connect.requested") || fault.Of(err) != fault.Retry {
		t.Errorf("%v", err)
	}
	if r.count(t, events.StreamDLQ) != 1 {
		t.Error("the dead letter is gone")
	}
}

func TestALetterThatCannotBeDeletedIsSaid(t *testing.T) {
	r := newRig(t, events.Codec{})
	r.publish(t, events.TypeConnectRequested, "", connectBody)
	r.giveUp(t, 1, fault.Outage)
	e := r.prepare(t)
	cfg := r.stream(t, events.StreamDLQ).CachedInfo().Config
	cfg.DenyDelete = true
	if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	receipt, err := r.queue.Redrive(t.Context(), e, "run")
	if err == nil || !receipt.Kept || receipt.Sequence != 2 {
		t.Errorf("%+v, %v", receipt, err)
	}
	if err := r.queue.Discard(t.Context(), 1); err == nil || errors.Is(err, dlq.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// deaf is a real JetStream handle that loses the answer to its first publish.
type deaf struct {
	jetstream.JetStream
	lost bool
}

func (d *deaf) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := d.JetStream.PublishMsg(ctx, m, opts...)
	if err == nil && !d.lost {
		d.lost = true
		return nil, context.DeadlineExceeded
	}
	return ack, err
}

func TestALostAnswerIsNoDuplicate(t *testing.T) {
	r := newRig(t, events.Codec{})
	r.publish(t, events.TypeConnectRequested, "", connectBody)
	r.giveUp(t, 1, fault.Outage)
	e := r.prepare(t)
	q, err := dlq.New(dlq.Config{JS: &deaf{JetStream: r.js}})
	if err != nil {
		t.Fatal(err)
	}
	if receipt, err := q.Redrive(t.Context(), e, "run"); err != nil || receipt.Sequence != 2 {
		t.Errorf("%+v, %v", receipt, err)
	}
	if r.count(t, events.StreamRequests) != 2 || r.count(t, events.StreamDLQ) != 0 {
		t.Error("stored twice, or the dead letter was kept")
	}
}

func TestDiscardForgets(t *testing.T) {
	r := newRig(t, events.Codec{})
	r.publish(t, events.TypeConnectRequested, "", connectBody)
	r.giveUp(t, 1, fault.Rejected)
	if err := r.queue.Discard(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := r.queue.Discard(t.Context(), 1); !errors.Is(err, dlq.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if r.count(t, events.StreamRequests) != 1 {
		t.Error("the original is gone")
	}
}
