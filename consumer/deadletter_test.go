package consumer

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

const mebibyte = 1 << 20

func letterOf(m events.Message) deadLetter {
	return deadLetter{
		d: Delivery{Message: m, Attempt: 3}, kept: m, class: fault.Rejected, text: "state: unknown",
		consumer: "finx-callbacks", now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.FixedZone("", 3600)),
	}
}

func TestDeadLetterHeaders(t *testing.T) {
	msg := letterOf(events.Message{
		Subject: "user.connect.requested.eu", Stream: "FINX_REQUESTS", Sequence: 42, Data: []byte("{}"), Time: time.Date(2026, 11, 22, 11, 0, 0, 5, time.UTC),
		Header: map[string][]string{
			"Nats-Msg-Id": {"upstream-1"}, "traceparent": {"00-a-b-01"}, "X-Many": {"1", "2"},
			"Nats-TTL": {"1m"}, "nats-rollup": {"all"}, "Nats-Expected-Last-Sequence": {"7"}, "Nats-Schedule": {"@every 1s"},
			"Dlq-Reason": {"old"}, "dlq-error": {"old"}, "Dlq-Other": {"old"},
		},
	}).message(mebibyte, false)
	want := nats.Header{
		"Dlq-Reason": {"rejected"}, "Dlq-Error": {"state: unknown"}, "Dlq-Stream": {"FINX_REQUESTS"}, "Dlq-Sequence": {"42"},
		"Dlq-Subject": {"user.connect.requested.eu"}, "Dlq-Consumer": {"finx-callbacks"}, "Dlq-Attempts": {"3"},
		"Dlq-Time": {"2026-11-22T11:00:00Z"}, "Dlq-Original-Time": {"2026-11-22T11:00:00.000000005Z"}, "Nats-Msg-Id": {"dlq:FINX_REQUESTS:42"}, "Dlq-Msg-Id": {"upstream-1"},
		"traceparent": {"00-a-b-01"}, "X-Many": {"1", "2"},
	}
	for name, values := range want {
		if got := msg.Header[name]; strings.Join(got, "|") != strings.Join(values, "|") {
			t.Errorf("header %s is %q, want %q", name, got, values)
		}
	}
	for name := range msg.Header {
		if _, ok := want[name]; !ok {
			t.Errorf("header %s: %q must not be there", name, msg.Header[name])
		}
	}
	if msg.Subject != "dlq.user.connect.requested.eu" || string(msg.Data) != "{}" {
		t.Errorf("subject %q, data %q", msg.Subject, msg.Data)
	}
}

func TestDeadLetterFitsThePayload(t *testing.T) {
	const limit = 4096
	tests := map[string]struct {
		header   map[string][]string
		data     int
		withhold bool
		note     bool
		keeps    bool // the original's headers
	}{
		"fits":                    {nil, 2000, false, false, true},
		"too large with headers":  {nil, limit - 10, false, true, true},
		"refused by the stream":   {nil, 10, true, true, true},
		"headers alone too large": {map[string][]string{"X-Big": {strings.Repeat("x", limit)}}, 10, false, true, false},
		"id alone too large":      {map[string][]string{"Nats-Msg-Id": {strings.Repeat("x", limit)}}, 10, false, true, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			h := map[string][]string{"X-Kept": {"yes"}, "content-type": {"application/cloudevents+json"}}
			maps.Copy(h, tc.header)
			msg := letterOf(events.Message{Subject: "s", Stream: "S", Sequence: 1, Header: h, Data: make([]byte, tc.data)}).message(limit, tc.withhold)
			if payload(msg) > limit {
				t.Errorf("%d bytes, want at most %d", payload(msg), limit)
			}
			if kept := msg.Header.Get("X-Kept") == "yes"; kept != tc.keeps {
				t.Errorf("headers of the original kept: %t, want %t", kept, tc.keeps)
			}
			if msg.Header.Get(HeaderSequence) != "1" {
				t.Error("the reference is gone")
			}
			var note struct{ Bytes int }
			err := json.Unmarshal(msg.Data, &note)
			if isNote := err == nil && note.Bytes == tc.data; isNote != tc.note {
				t.Errorf("body is a note: %t, want %t", isNote, tc.note)
			}
			if tc.note && (msg.Header.Get("Content-Type") != "application/json" || msg.Header["content-type"] != nil) {
				t.Errorf("content type %q and %q, want application/json once", msg.Header.Get("Content-Type"), msg.Header["content-type"])
			}
		})
	}
}

// TestPayloadIsWhatTheWireCarries checks our arithmetic against the client's own.
func TestPayloadIsWhatTheWireCarries(t *testing.T) {
	msg := letterOf(events.Message{Subject: "s", Stream: "S", Sequence: 1, Data: []byte("abc"), Header: map[string][]string{"X": {"1", "", "22"}}}).message(mebibyte, false)
	size := int64(msg.Size() - len(msg.Subject) - len(msg.Reply))
	if got := payload(msg); got != size {
		t.Errorf("payload %d, the client says %d", got, size)
	}
}

func FuzzOneLine(f *testing.F) {
	for _, s := range []string{"", "a\nb\r\n\tc", "\x00\x1b[31m", strings.Repeat("ü", 600), "\xff\xfe", "a\u2028b", strings.Repeat("x", 1023) + "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := oneLine(s)
		if len(got) > MaxErrorLine || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\t\x00\x1b\u2028") {
			t.Errorf("oneLine(%q) = %q", s, got)
		}
	})
}
