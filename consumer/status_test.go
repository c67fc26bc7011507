package consumer

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestStatusDoesNotFlap(t *testing.T) {
	// Each step is what happened, and what readers see then.
	type step struct {
		what  string
		do    func(*status) bool
		ready bool
		why   string
		moved bool
	}
	bound := func(s *status) bool { return s.bound("") }
	pulled := func(s *status) bool { return s.pulled() }
	lost := func(s *status) bool { return s.blocked("no answer", true) }
	missing := func(s *status) bool { return s.blocked("missing", false) }
	steps := []step{
		{"bound at the start", bound, true, "", true},
		{"a good pull changes nothing", pulled, true, "", false},
		{"one pull lost", lost, false, "no answer", true},
		{"bound again is enough after one", bound, true, "", true},
		{"a second pull lost in a row", lost, false, "no answer", true},
		{"bound again is not enough after two", bound, false, "no answer", false},
		{"a third pull lost is no news", lost, false, "no answer", false},
		{"a good pull is enough", pulled, true, "", true},
		{"consumer deleted", missing, false, "missing", true},
		{"bound again is enough, the pulls were good", bound, true, "", true},
	}
	s := newStatus("callbacks", 1, "starting")
	if got := s.get(); got.Ready || got.Why != "starting" || got.Lane != "callbacks" {
		t.Fatalf("at first %+v", got)
	}
	for _, st := range steps {
		before := s.get().Since
		moved := st.do(s)
		got := s.get()
		if got.Ready != st.ready || got.Why != st.why || moved != st.moved {
			t.Errorf("%s: ready %t, why %q, moved %t; want %t, %q, %t", st.what, got.Ready, got.Why, moved, st.ready, st.why, st.moved)
		}
		if got.Since.After(before) != st.moved {
			t.Errorf("%s: since moved from %s to %s", st.what, before, got.Since)
		}
	}
}

func TestHeartbeatEvery(t *testing.T) {
	tests := map[string]struct {
		cfg   jetstream.ConsumerConfig
		limit time.Duration
		want  time.Duration
	}{
		"a third of AckWait":           {jetstream.ConsumerConfig{AckWait: 30 * time.Second}, 0, 10 * time.Second},
		"the lane may be more careful": {jetstream.ConsumerConfig{AckWait: 30 * time.Second}, 15 * time.Second, 5 * time.Second},
		"the lane may not be bolder":   {jetstream.ConsumerConfig{AckWait: 30 * time.Second}, time.Minute, 10 * time.Second},
		"BackOff takes its place":      {jetstream.ConsumerConfig{AckWait: 30 * time.Second, BackOff: []time.Duration{3 * time.Second, time.Hour}}, 0, time.Second},
		"never a busy loop":            {jetstream.ConsumerConfig{AckWait: time.Nanosecond}, 0, time.Millisecond},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := heartbeatEvery(tc.cfg, tc.limit); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestPanicErrorQuotesNothingForeign(t *testing.T) {
	for name, p := range map[string]any{"a string": "tok-s3cret", "an error": errors.New("tok-s3cret"), "a value": struct{ S string }{"tok-s3cret"}, "nothing": nil} {
		t.Run(name, func(t *testing.T) {
			if text := panicError(p).Error(); strings.Contains(text, "s3cret") || !strings.HasPrefix(text, "consumer: handling a delivery: ") {
				t.Errorf("error %q", text)
			}
		})
	}
}
