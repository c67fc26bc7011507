package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestStanding(t *testing.T) {
	api := func(code jetstream.ErrorCode, description string) error {
		return fmt.Errorf("nats: %w", &jetstream.APIError{Code: 503, ErrorCode: code, Description: description})
	}
	p := newPublisher(t, Config{JS: natstest.JetStream(t, natstest.Start(t).URL())})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		err  error
		kind guard.Kind
		why  string
	}{
		"no stream":              {jetstream.ErrNoStreamResponse, guard.Away, "no stream takes it"},
		"no responders":          {nats.ErrNoResponders, guard.Away, "no stream takes it"},
		"jetstream off":          {api(10076, "jetstream not enabled"), guard.Away, "not enabled"},
		"timed out":              {context.DeadlineExceeded, guard.Away, "no answer"},
		"client timed out":       {nats.ErrTimeout, guard.Away, "no answer"},
		"disconnected":           {nats.ErrDisconnected, guard.Away, "not connected"},
		"closed":                 {nats.ErrConnectionClosed, guard.Away, "not connected"},
		"too many requests":      {api(10167, "too many requests"), guard.Away, "too many requests"},
		"full":                   {api(10077, "maximum bytes exceeded"), guard.Away, "stream S is full"},
		"disk full":              {api(10047, "insufficient storage resources available"), guard.Away, "is full"},
		"store failed otherwise": {api(10077, "input/output error"), guard.Away, "input/output"},
		"wrong stream":           {api(10060, "expected stream does not match"), guard.Away, "bound to another stream"},
		"no schedules":           {api(10188, "message schedules is disabled"), guard.Away, "keeps no schedules"},
		"never seen before":      {errors.New("boom"), guard.Away, "boom"},
		"above max_payload":      {nats.ErrMaxPayload, guard.Unknown, ""},
		"above max_msg_size":     {api(10054, "message size exceeds maximum allowed"), guard.Unknown, ""},
		"another was faster":     {api(10071, "wrong last sequence: 4"), guard.Unknown, ""},
	} {
		err := fmt.Errorf("publisher: publishing: %w", p.judge("s", "S", tc.err))
		got := standing(t.Context(), "S", err)
		if got.Kind != tc.kind || !strings.Contains(got.Why, tc.why) || (got.Kind == guard.Away) != strings.HasPrefix(got.Why, "nothing can be stored in stream S: ") || !got.Until.IsZero() {
			t.Errorf("%s: %+v", name, got)
		}
		if got := standing(ended, "S", err); got != (guard.Answer{}) {
			t.Errorf("%s, and the caller has gone: %+v", name, got)
		}
	}
	if got := standing(ended, "S", nil); got != (guard.Answer{Kind: guard.Alive}) {
		t.Errorf("stored: %+v", got)
	}
	if got := standing(t.Context(), "S", errors.New("encoding")); got != (guard.Answer{}) {
		t.Errorf("never sent: %+v", got)
	}
}

// ear notes what is said about the broker.
type ear struct {
	mu    sync.Mutex
	heard []guard.Answer
}

func (e *ear) hear(a guard.Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, a)
}

func (e *ear) one(t *testing.T) guard.Answer {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.heard) != 1 {
		t.Fatalf("one publish says %+v", e.heard)
	}
	a := e.heard[0]
	e.heard = nil
	return a
}

// What is stored says that the broker works, also after repeats; what cannot be
// within its budget says which stream it was for.
func TestPublishesSaySomethingAboutTheBroker(t *testing.T) {
	srv := natstest.Start(t)
	js := natstest.JetStream(t, srv.URL())
	e := &ear{}
	p := newPublisher(t, Config{JS: js, Timeout: 300 * time.Millisecond, AttemptTimeout: 200 * time.Millisecond, Observe: e.hear})
	raw := []byte(`{"a":1}`)
	ways := map[string]func(ctx context.Context) error{
		"FINX_EVENTS": func(ctx context.Context) error { _, err := p.Publish(ctx, output(1)); return err },
		"FINX_TIMERS": func(ctx context.Context) error {
			return p.ScheduleKeepAlive(ctx, connectionID, time.Now().Add(time.Hour))
		},
		"OBJ_finx_oversize": func(ctx context.Context) error { _, err := p.storeObject(ctx, raw, 0); return err },
	}
	for stream, publish := range ways {
		if publish(t.Context()) == nil {
			t.Fatalf("%s: stored without a stream", stream)
		}
		if a := e.one(t); a.Kind != guard.Away || !strings.Contains(a.Why, "stream "+stream+": ") {
			t.Errorf("%s: %+v", stream, a)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if publish(ctx) == nil {
			t.Fatalf("%s: stored without a stream", stream)
		}
		if a := e.one(t); a != (guard.Answer{}) {
			t.Errorf("%s, and the caller has gone: %+v", stream, a)
		}
	}
	patient := newPublisher(t, Config{JS: js, Observe: e.hear})
	done := make(chan error, 1)
	go func() {
		_, err := patient.Publish(t.Context(), output(1))
		done <- err
	}()
	createStream(t, js, eventsStream())
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if a := e.one(t); a != (guard.Answer{Kind: guard.Alive}) {
		t.Errorf("stored: %+v", a)
	}
	createStream(t, js, jetstream.StreamConfig{Name: "OBJ_finx_oversize", Subjects: []string{"$O.finx_oversize.>"}, AllowDirect: true, AllowRollup: true})
	for range 2 { // the second finds it there
		if _, err := p.storeObject(t.Context(), raw, 0); err != nil {
			t.Fatal(err)
		}
		if a := e.one(t); a != (guard.Answer{Kind: guard.Alive}) {
			t.Errorf("object stored: %+v", a)
		}
	}
}
