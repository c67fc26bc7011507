package streamread_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/streamread"
)

func TestMessagesAreReadAsStored(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*nats.Msg{
		{Subject: "s.a", Data: []byte("one"), Header: nats.Header{"X-Kind": {"first", "again"}}},
		{Subject: "s.a", Data: []byte("two")},
		{Subject: "s.b", Data: []byte("three")},
	} {
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	m, err := streamread.At(t.Context(), js, "S", 1)
	if err != nil || m.Subject != "s.a" || string(m.Data) != "one" || m.Sequence != 1 || m.Time.IsZero() || len(m.Header.Values("X-Kind")) != 2 {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err = streamread.Last(t.Context(), js, "S", "s.a"); err != nil || string(m.Data) != "two" || m.Header != nil {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err = streamread.Next(t.Context(), js, "S", "s.*", 2); err != nil || string(m.Data) != "two" {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err = streamread.Next(t.Context(), js, "S", "s.b", 1); err != nil || string(m.Data) != "three" {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err = streamread.Next(t.Context(), js, "S", "s.a", 3); !errors.Is(err, streamread.ErrNotFound) {
		t.Errorf("a subject that is there only before: %v", err)
	}
	if _, err = streamread.At(t.Context(), js, "S", 9); !errors.Is(err, streamread.ErrNotFound) {
		t.Errorf("a sequence that is not there: %v", err)
	}
	if _, err = streamread.Last(t.Context(), js, "S", "s.c"); !errors.Is(err, streamread.ErrNotFound) {
		t.Errorf("a subject that is not there: %v", err)
	}
	if refused, ok := errors.AsType[*jetstream.APIError](func() error { _, err := streamread.At(t.Context(), js, "NONE", 1); return err }()); !ok || refused.ErrorCode != jetstream.JSErrCodeStreamNotFound {
		t.Errorf("a stream that is not there: %v", refused)
	}
}

func TestRequestsGoUnderTheHandlesPrefix(t *testing.T) {
	nc := natstest.Connect(t, natstest.Start(t).URL())
	for want, dial := range map[string]func() (jetstream.JetStream, error){
		"$JS.API.X":     func() (jetstream.JetStream, error) { return jetstream.New(nc) },
		"$JS.hub.API.X": func() (jetstream.JetStream, error) { return jetstream.NewWithDomain(nc, "hub") },
		"acme.js.X":     func() (jetstream.JetStream, error) { return jetstream.NewWithAPIPrefix(nc, "acme.js") },
	} {
		js, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		if got := streamread.Subject(js, "X"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
