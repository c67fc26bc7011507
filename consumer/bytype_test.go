package consumer_test

import (
	"context"
	"testing"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func TestByType(t *testing.T) {
	codec := events.Codec{Prefix: "acme"}
	var got []string
	note := func(name string) consumer.Handler {
		return func(context.Context, consumer.Delivery) error { got = append(got, name); return nil }
	}
	h := consumer.ByType(codec, map[string]consumer.Handler{
		events.TypeSyncRequested: note("sync"), events.TypeKeepAliveDue: note("keepalive"),
	})
	for _, subject := range []string{"acme.finx.due.sync.1", "acme.finx.due.keepalive.1"} {
		if err := h(t.Context(), consumer.Delivery{Message: events.Message{Subject: subject}}); err != nil {
			t.Error(err)
		}
	}
	if len(got) != 2 || got[0] != "sync" || got[1] != "keepalive" {
		t.Errorf("handled %v", got)
	}
	err := h(t.Context(), consumer.Delivery{Message: events.Message{Subject: "acme.finx.due.unheard"}})
	if fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Malformed {
		t.Errorf("an event of no type of this lane: %v", err)
	}
}
