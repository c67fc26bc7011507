package publisher

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/publisher/publishertest"
)

func timersStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: events.StreamTimers, Subjects: []string{"finx.timer.>", "finx.due.>", "acme.finx.>"},
		AllowMsgSchedules: true, AllowMsgTTL: true, AllowRollup: true, Duplicates: 30 * time.Minute,
	}
}

// due returns a consumer of what comes due, in the order of the stream.
func due(t testing.TB, js jetstream.JetStream) jetstream.Consumer {
	t.Helper()
	c, err := js.CreateConsumer(t.Context(), events.StreamTimers, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: []string{"finx.due.>", "acme.finx.due.>"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func next(t testing.TB, c jetstream.Consumer, wait time.Duration) jetstream.Msg {
	t.Helper()
	msg, err := c.Next(jetstream.FetchMaxWait(wait))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestBrokerKeepsTheContract(t *testing.T) {
	publishertest.RunTimers(t, publishertest.RealTime, func(t *testing.T, take publishertest.DueFunc) publishertest.Scheduler {
		t.Helper()
		js := natstest.JetStream(t, natstest.Start(t).URL())
		createStream(t, js, timersStream())
		receiving, err := due(t, js).Consume(func(msg jetstream.Msg) {
			e, err := events.Codec{}.Parse(events.Message{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()})
			if err != nil {
				t.Error(err)
				return
			}
			take(msg.Subject(), e)
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			receiving.Stop()
			<-receiving.Closed()
		})
		return newPublisher(t, Config{JS: js, Timeout: time.Second})
	})
}

// TestTimersOnTheWire: what waits and what comes of it, as the broker has it.
func TestTimersOnTheWire(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	s := createStream(t, js, timersStream())
	p := newPublisher(t, Config{JS: js, Codec: events.Codec{Prefix: "acme"}, DueTTL: 90 * time.Minute})
	for kind, set := range map[string]func(at time.Time) error{
		"sync":      func(at time.Time) error { return p.ScheduleSync(t.Context(), connectionID, at, request()) },
		"keepalive": func(at time.Time) error { return p.ScheduleKeepAlive(t.Context(), connectionID, at) },
	} {
		t.Run(kind, func(t *testing.T) {
			at := time.Date(2126, 1, 2, 3, 4, 4, 1, time.UTC)
			waits, comes := "acme.finx.timer."+kind+"."+connectionID, "acme.finx.due."+kind+"."+connectionID
			var ids []string
			for range 2 {
				if err := set(at); err != nil {
					t.Fatal(err)
				}
				msg, err := s.GetLastMsgForSubject(t.Context(), waits)
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, msg.Header.Get(events.HeaderMsgID))
				for name, want := range map[string]string{
					"Nats-Schedule": "@at 2126-01-02T03:04:05Z", "Nats-Schedule-Target": comes, "Nats-Schedule-TTL": "1h30m0s",
					"Nats-Expected-Stream": events.StreamTimers, "Content-Type": events.ContentTypeStructured, events.HeaderConnectionID: connectionID,
				} {
					if got := msg.Header[name]; len(got) != 1 || got[0] != want {
						t.Errorf("header %s: %q, want %q", name, got, want)
					}
				}
			}
			if ids[0] == ids[1] || !events.IsUUID(ids[0]) {
				t.Errorf("%s %q: the second call is no duplicate", events.HeaderMsgID, ids)
			}
			if err := set(time.Now()); err != nil {
				t.Fatal(err)
			}
			msg := next(t, due(t, js), 30*time.Second)
			if msg.Subject() != comes || msg.Headers().Get(events.HeaderConnectionID) != connectionID || msg.Headers().Get("Nats-TTL") != "1h30m0s" {
				t.Errorf("%s %v", msg.Subject(), msg.Headers())
			}
			if err := s.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestWhatCameDueIsReplacedByTheNext: the stream does not grow with time.
func TestWhatCameDueIsReplacedByTheNext(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	s := createStream(t, js, timersStream())
	p := newPublisher(t, Config{JS: js})
	const other = "6f9619ff-8b86-5011-b42d-00c04fc964fe"
	if err := p.ScheduleSync(t.Context(), other, time.Now(), request()); err != nil {
		t.Fatal(err)
	}
	c := due(t, js)
	if msg := next(t, c, 30*time.Second); msg.DoubleAck(t.Context()) != nil {
		t.Fatal("not acknowledged")
	}
	for range 3 {
		if err := p.ScheduleSync(t.Context(), connectionID, time.Now(), request()); err != nil {
			t.Fatal(err)
		}
		msg := next(t, c, 30*time.Second)
		if msg.Subject() != "finx.due.sync."+connectionID {
			t.Fatalf("%s came due", msg.Subject())
		}
		if err := msg.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]uint64{"finx.due.sync." + connectionID: 1, "finx.due.sync." + other: 1}; !maps.Equal(info.State.Subjects, want) {
		t.Errorf("the stream holds %v, want %v", info.State.Subjects, want)
	}
}

func TestTimersWithoutAStreamSaySo(t *testing.T) {
	p := newPublisher(t, Config{JS: natstest.JetStream(t, natstest.Start(t).URL()), Timeout: 100 * time.Millisecond})
	if _, err := p.CancelSchedule(t.Context(), connectionID); fault.Of(err) != fault.Retry || !strings.Contains(err.Error(), events.StreamTimers) {
		t.Errorf("cancelling: %v", err)
	}
	if err := p.ScheduleKeepAlive(t.Context(), connectionID, time.Now()); fault.Of(err) != fault.Retry || !strings.Contains(err.Error(), events.StreamTimers) {
		t.Errorf("setting: %v", err)
	}
}
