package consumer_test

import (
	"context"
	"errors"
	"testing"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func TestOn(t *testing.T) {
	type event struct{ id string }
	decoded := func(e events.Envelope) (event, error) { return event{e.ID}, nil }
	classed := fault.Permanent(fault.Rejected, errors.New("events: decoding: redirect_uri: not allowed"))
	tests := map[string]struct {
		subject, body string
		decode        func(events.Envelope) (event, error)
		verdict       fault.Verdict
		class         fault.Class
		handled       bool
	}{
		"handled":                {subject, `{"state":"s"}`, decoded, fault.Done, "", true},
		"no JSON":                {subject, `{`, decoded, fault.GiveUp, fault.Malformed, false},
		"decode gives up":        {subject, `{}`, func(events.Envelope) (event, error) { return event{}, classed }, fault.GiveUp, fault.Rejected, false},
		"decode has no verdict":  {subject, `{}`, func(events.Envelope) (event, error) { return event{}, errBoom }, fault.GiveUp, fault.Malformed, false},
		"the handler's own word": {subject, `{"fail":1}`, decoded, fault.Retry, "", true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			handled := false
			h := consumer.On(codec(), tc.decode, func(_ context.Context, e events.Envelope, ev event) error {
				handled = true
				if ev.id != e.ID || e.ID == "" {
					t.Errorf("event %q of envelope %q", ev.id, e.ID)
				}
				if tc.verdict == fault.Retry {
					return fault.Transient(fault.FinX, errBoom)
				}
				return nil
			})
			err := h(t.Context(), consumer.Delivery{Message: events.Message{Subject: tc.subject, Data: []byte(tc.body), Stream: stream, Sequence: 1}})
			if v := fault.Of(err); v != tc.verdict || handled != tc.handled {
				t.Errorf("verdict %s, handled %t, want %s, %t", v, handled, tc.verdict, tc.handled)
			}
			if tc.class != "" && fault.ClassOf(err) != tc.class {
				t.Errorf("class %s, want %s", fault.ClassOf(err), tc.class)
			}
		})
	}
}
