package streams

import (
	"slices"
	"testing"

	"github.com/finx-connector/finx-connector/events"
)

func TestPlanHoldsEverySubjectOfTheContract(t *testing.T) {
	for _, prefix := range []string{"", "acme"} {
		codec := events.Codec{Prefix: prefix}
		held := map[string]string{} // subject -> stream
		topology := Plan(Config{Codec: codec})
		for _, subject := range []string{
			"user.connect.requested", "user.connect.requested.eu.1", "transactions.sync.requested", "transactions.sync.requested.x",
			"user.erasure.requested", "user.erasure.requested.x", "callback.received", "callback.received.eu.42",
			"widget.link.created", "connection.established", "connection.failed", "connection.expiring",
			"connection.reauthorization.required", "connection.erased", "transactions.fetched", "transactions.fetched.0b5f",
			"transactions.fetch.completed", "transactions.fetch.failed", "replay.completed", "finx.timer.sync.1", "finx.due.sync.1",
			"dlq.callback.received.eu.42", "dlq.user.connect.requested", "dlq.finx.due.sync.1",
		} {
			for _, s := range topology.streams {
				if s.kind == KindStream && coveredByAny(s.want.Subjects, codec.Subject(subject)) {
					if held[subject] != "" {
						t.Errorf("%s is held by %s and %s", subject, held[subject], s.name)
					}
					held[subject] = s.name
				}
			}
			if held[subject] == "" {
				t.Errorf("prefix %q: no stream holds %s", prefix, codec.Subject(subject))
			}
		}
		for subject, want := range map[string]string{
			"callback.received": "FINX_CALLBACKS", "transactions.sync.requested": "FINX_REQUESTS",
			"transactions.fetched": "FINX_EVENTS", "finx.due.sync.1": "FINX_TIMERS", "dlq.callback.received.eu.42": "FINX_DLQ",
		} {
			if held[subject] != want {
				t.Errorf("%s is held by %s, want %s", subject, held[subject], want)
			}
		}
	}
}

func TestPlanKeepsOutOfOtherPeoplesSubjects(t *testing.T) {
	for _, s := range Plan(Config{Codec: events.Codec{Prefix: "acme"}}).streams {
		if s.kind != KindStream {
			continue
		}
		for _, foreign := range []string{"user.connect.requested", "acme.dlq.orders", "dlq.orders", "acme.replay.completed.yesterday", "acme.replay.accounting", "finx.timer.sync.1", "acme.orders"} {
			if coveredByAny(s.want.Subjects, foreign) {
				t.Errorf("%s swallows %s", s.name, foreign)
			}
		}
	}
}

func TestDeadLettersLandInTheStream(t *testing.T) {
	for _, prefix := range []string{"", "acme"} {
		codec := events.Codec{Prefix: prefix}
		topology := Plan(Config{Codec: codec})
		i := slices.IndexFunc(topology.streams, func(s stream) bool { return s.name == events.StreamDLQ })
		for _, base := range []string{"user.connect.requested", "callback.received.eu.42", "finx.due.sync.1"} {
			if got := codec.DLQSubject(codec.Subject(base)); !coveredByAny(topology.streams[i].want.Subjects, got) {
				t.Errorf("prefix %q: %s is not in %v", prefix, got, topology.streams[i].want.Subjects)
			}
		}
	}
}

func TestPlanWithOwnedStreams(t *testing.T) {
	topology := Plan(Config{Owned: Names{Connects: "TEAM", Callbacks: "TEAM"}})
	for _, s := range topology.streams {
		if coveredByAny(s.want.Subjects, "user.connect.requested") || coveredByAny(s.want.Subjects, "callback.received") {
			t.Errorf("%s still holds a subject of the other team: %v", s.name, s.want.Subjects)
		}
		if s.name == events.StreamCallbacks {
			t.Error("a stream without subjects is planned")
		}
	}
	if got := topology.Names(); got.Connects != "TEAM" || got.Callbacks != "TEAM" || got.Syncs != events.StreamRequests {
		t.Errorf("names %+v", got)
	}
	for _, c := range topology.consumers {
		wantOwned := c.want.Durable == DurableConnects || c.want.Durable == DurableCallbacks
		if c.owned != wantOwned {
			t.Errorf("%s: owned %v", c.want.Durable, c.owned)
		}
	}
}
