package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func TestLettersAreReadAsTheyWereWritten(t *testing.T) {
	r := newRig(t, events.Codec{})
	at := r.publish(t, events.TypeConnectRequested+".eu.1", "m-1", `{"user_id":"u"}`, "X-Team", "a")
	r.giveUp(t, 1, fault.Rejected)
	l, err := r.queue.Get(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	want := dlq.Original{
		Stream: events.StreamRequests, Sequence: at, Subject: events.TypeConnectRequested + ".eu.1", MsgID: "m-1", Stored: r.last(t, events.StreamRequests).Time,
	}
	if l.Original != want || l.Sequence != 1 || l.Subject != "dlq.user.connect.requested.eu.1" || l.Reason != fault.Rejected ||
		l.Error != "user_id: not today" || l.Consumer != "finx-connects" || l.Attempts != 1 || string(l.Data) != `{"user_id":"u"}` {
		t.Errorf("%+v", l)
	}
	if l.Time.IsZero() || l.Stored.Before(l.Time) || len(l.Header) != 1 || l.Header["X-Team"][0] != "a" || l.Withheld() {
		t.Errorf("%+v", l)
	}
	if _, err := r.queue.Get(t.Context(), 99); !errors.Is(err, dlq.ErrNotFound) || !strings.Contains(err.Error(), "dead letter 99") {
		t.Error(err)
	}
}

// The headers are written in package consumer; neither package imports the other.
func TestHeadersAreThoseOfTheConsumer(t *testing.T) {
	l := dlq.Read(events.Message{Sequence: 3, Header: map[string][]string{
		consumer.HeaderReason: {"outage"}, consumer.HeaderError: {"why"}, consumer.HeaderStream: {"S"}, consumer.HeaderSequence: {"7"},
		consumer.HeaderSubject: {"s"}, consumer.HeaderConsumer: {"c"}, consumer.HeaderAttempts: {"2"},
		consumer.HeaderTime: {"2026-01-02T03:04:05Z"}, consumer.HeaderOriginalID: {"m"},
		consumer.HeaderOriginalTime: {"2026-01-02T03:04:05.6Z"}, "Nats-Msg-Id": {"dlq:S:7"}, "kept": {"k"},
	}})
	if l.Reason != fault.Outage || l.Error != "why" || l.Consumer != "c" || l.Attempts != 2 || len(l.Header) != 1 ||
		l.Original != (dlq.Original{Stream: "S", Sequence: 7, Subject: "s", MsgID: "m", Stored: time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)}) || l.Time.Year() != 2026 {
		t.Errorf("%+v", l)
	}
	stored := time.Now()
	if odd := dlq.Read(events.Message{Time: stored, Header: map[string][]string{consumer.HeaderSequence: {"x"}, "dlq-reason": {"outage"}}}); odd.Original.Sequence != 0 || !odd.Time.Equal(stored) || odd.Reason != fault.Outage {
		t.Errorf("%+v", odd)
	}
}

func TestFiltersChoose(t *testing.T) {
	r := newRig(t, events.Codec{Prefix: "acme"})
	if got := r.letters(t, dlq.Filter{}); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	for i := range 3 {
		r.publish(t, "acme.user.connect.requested", fmt.Sprint("c-", i), fmt.Sprintf(`{"user_id":"%d"}`, i))
	}
	r.publish(t, "acme.user.connect.requested.eu", "", `{}`)
	r.giveUp(t, 4, fault.Rejected)
	mark := time.Now()
	r.publish(t, "acme.callback.received", "", `{"callback_url":"https://app.example/cb?code=`+canaryCode+`&state=s"}`)
	r.giveUp(t, 5, fault.UnknownState)
	for name, tc := range map[string]struct {
		f    dlq.Filter
		want int
	}{
		"all":                    {dlq.Filter{}, 5},
		"a class":                {dlq.Filter{Class: fault.UnknownState}, 1},
		"a class nobody has":     {dlq.Filter{Class: fault.Outage}, 0},
		"a subject":              {dlq.Filter{Subject: "user.connect.requested"}, 4},
		"with the prefix":        {dlq.Filter{Subject: "acme.user.connect.requested"}, 4},
		"below it":               {dlq.Filter{Subject: "acme.user.connect.requested.eu"}, 1},
		"a wildcard":             {dlq.Filter{Subject: "user.>"}, 4},
		"since":                  {dlq.Filter{Since: mark}, 1},
		"since, another subject": {dlq.Filter{Since: mark, Subject: "user.connect.requested"}, 0},
		"in the future":          {dlq.Filter{Since: time.Now().Add(time.Hour)}, 0},
		"until":                  {dlq.Filter{Until: mark}, 4},
		"since and until":        {dlq.Filter{Since: mark, Until: time.Now().Add(time.Hour)}, 1},
		"a stream":               {dlq.Filter{Stream: events.StreamCallbacks}, 1},
		"a user":                 {dlq.Filter{User: "2"}, 1},
		"a user of a callback":   {dlq.Filter{User: "anna"}, 1},
		"a connection":           {dlq.Filter{Connection: events.ConnectionID(events.Envelope{ID: "c-1", Source: "/nats/" + events.StreamRequests})}, 1},
		"one of a callback":      {dlq.Filter{Connection: "of-s"}, 1},
		"both, of two":           {dlq.Filter{Connection: "of-s", User: "2"}, 0},
	} {
		if got := r.letters(t, tc.f); len(got) != tc.want {
			t.Errorf("%s: %d letters, want %d", name, len(got), tc.want)
		}
	}
	stop := errors.New("stop")
	calls := 0
	err := r.queue.Each(t.Context(), dlq.Filter{}, func(dlq.Letter) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

func TestListingWhileOthersDelete(t *testing.T) {
	r := newRig(t, events.Codec{})
	for range 20 {
		r.publish(t, "user.connect.requested", "", `{}`)
	}
	r.giveUp(t, 20, fault.Rejected)
	q, err := dlq.New(dlq.Config{JS: r.js, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = q.Each(t.Context(), dlq.Filter{}, func(l dlq.Letter) error {
		seen++
		for seq := l.Sequence + 1; seen == 1 && seq <= 20; seq++ {
			if err := q.Discard(t.Context(), seq); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || seen < 1 {
		t.Errorf("%d seen: %v", seen, err)
	}
}

func TestErrorsHaveAVerdict(t *testing.T) {
	r := newRig(t, events.Codec{})
	missing, err := dlq.New(dlq.Config{JS: r.js, Stream: "NOT_THERE"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := missing.Get(t.Context(), 1); fault.Of(err) != fault.GiveUp && fault.Of(err) != fault.Retry || errors.Is(err, dlq.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if err := missing.Each(t.Context(), dlq.Filter{}, nil); err == nil || !strings.Contains(err.Error(), "stream NOT_THERE does not exist, run `finx-connector streams apply`") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.queue.Get(ctx, 1); fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.NATS || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := dlq.New(dlq.Config{}); err == nil {
		t.Error("a queue without JetStream")
	}
}
