package dlq_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// An event without a time of its own has that of its storing. Redriven, it must not
// be younger: by it the age of a code is judged.
func TestARedrivenEventIsAsOldAsItWas(t *testing.T) {
	const callback = `"state":"s","success":true,"code":"` + canaryCode + `"`
	const structured = `{"specversion":"1.0","id":"e-1","source":"/up","type":"%s","data":`
	connect, callbacks := events.TypeConnectRequested, events.TypeCallbackReceived
	for name, tc := range map[string]struct {
		subject, body string
		headers       []string
	}{
		"bare":                   {connect, connectBody, nil},
		"structured":             {connect, strings.Replace(structured, "%s", connect, 1) + connectBody + "}", []string{"Content-Type", events.ContentTypeStructured}},
		"binary":                 {connect, connectBody, []string{"ce-id", "e-2", "ce-source", "/up", "ce-type", connect, "ce-specversion", "1.0"}},
		"callback":               {callbacks, "{" + callback + "}", nil},
		"structured callback":    {callbacks, strings.Replace(structured, "%s", callbacks, 1) + "{" + callback + "}}", nil},
		"with a time of its own": {callbacks, strings.Replace(structured, "%s", callbacks+`","time":"2026-01-02T03:04:05Z`, 1) + "{" + callback + "}}", nil},
	} {
		for _, letter := range []string{"of this version", "without the time", "and without its original"} {
			t.Run(name+", a letter "+letter, func(t *testing.T) {
				r := newRig(t, events.Codec{})
				r.publish(t, tc.subject, "", tc.body, tc.headers...)
				stream := events.StreamOf(tc.subject)
				want := r.envelope(t, r.last(t, stream)).Time
				r.giveUp(t, 1, fault.Outage)
				if letter != "of this version" {
					want = r.withoutTime(t, want, letter == "and without its original" && tc.subject == connect)
				}
				if _, err := r.queue.Redrive(t.Context(), r.prepare(t), "run"); err != nil {
					t.Fatal(err)
				}
				if got := r.envelope(t, r.last(t, stream)); !got.Time.Equal(want) {
					t.Errorf("the time is %s, was %s", got.Time, want)
				}
			})
		}
	}
}

// withoutTime makes the dead letter one of a version that kept no time of the
// original, without which the best that is known is when it was given up.
func (r *rig) withoutTime(t *testing.T, was time.Time, gone bool) (want time.Time) {
	t.Helper()
	l := r.letters(t, dlq.Filter{})[0]
	m := r.last(t, events.StreamDLQ)
	header := nats.Header(m.Header)
	header.Del("Dlq-Original-Time")
	header.Del(events.HeaderMsgID)
	if err := r.stream(t, events.StreamDLQ).DeleteMsg(t.Context(), m.Sequence); err != nil {
		t.Fatal(err)
	}
	if _, err := r.js.PublishMsg(t.Context(), &nats.Msg{Subject: m.Subject, Header: header, Data: m.Data}); err != nil {
		t.Fatal(err)
	}
	if !gone {
		return was
	}
	if err := r.stream(t, l.Original.Stream).DeleteMsg(t.Context(), l.Original.Sequence); err != nil {
		t.Fatal(err)
	}
	return l.Time
}
