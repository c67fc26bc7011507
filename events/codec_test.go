package events_test

import (
	"testing"

	"github.com/finx-connector/finx-connector/events"
)

func TestTypeOfSubject(t *testing.T) {
	for _, tc := range []struct{ prefix, subject, want string }{
		{"", "user.connect.requested", events.TypeConnectRequested},
		{"", "user.connect.requested.eu", events.TypeConnectRequested},
		{"", "callback.received.eu.42", events.TypeCallbackReceived},
		{"", "callback.receivedx", ""},
		{"", "acme.callback.received", ""},
		{"", "transactions.fetched." + connectionID, events.TypeTransactionsFetched},
		{"", "transactions.fetch.completed", events.TypeFetchCompleted},
		{"", "finx.due.sync." + connectionID, events.TypeSyncRequested},
		{"", "finx.timer.sync." + connectionID, events.TypeSyncRequested},
		{"", "finx.due.keepalive." + connectionID, events.TypeKeepAliveDue},
		{"", "finx.timer.keepalive." + connectionID, events.TypeKeepAliveDue},
		{"", "finx.due.keepaliveness", ""},
		{"acme", "acme.finx.due.keepalive.x", events.TypeKeepAliveDue},
		{"", "finx.due.retry.1", ""},
		{"", "dlq.callback.received", ""},
		{"", "", ""},
		{"acme.prod", "acme.prod.callback.received.eu", events.TypeCallbackReceived},
		{"acme.prod", "acme.prod.finx.due.sync.x", events.TypeSyncRequested},
		{"acme", "callback.received", ""},
		{"acme", "acmecallback.received", ""},
		{"acme", "acme", ""},
	} {
		got, ok := events.Codec{Prefix: tc.prefix}.TypeOf(tc.subject)
		if got != tc.want || ok != (tc.want != "") {
			t.Errorf("prefix %q, subject %q: %q %v, want %q", tc.prefix, tc.subject, got, ok, tc.want)
		}
	}
}

func TestSubjectsAreReadBackAsTheyAreWritten(t *testing.T) {
	for _, c := range []events.Codec{{}, {Prefix: "acme"}, {Prefix: "acme.prod"}} {
		for _, typ := range allTypes() {
			for _, subject := range []string{c.Subject(typ), c.OutputSubject(typ, connectionID, true), c.OutputSubject(typ, connectionID, false)} {
				if got, ok := c.TypeOf(subject); !ok || got != typ {
					t.Errorf("%q: %q %v", subject, got, ok)
				}
			}
		}
	}
	c := events.Codec{Prefix: "acme"}
	for got, want := range map[string]string{
		c.OutputSubject(events.TypeConnectionFailed, "id", true):             "acme.connection.failed.id",
		c.OutputSubject(events.TypeConnectionFailed, "", true):               "acme.connection.failed",
		c.DLQSubject("acme.callback.received.eu"):                            "acme.dlq.callback.received.eu",
		c.DLQSubject("acme.finx.due.sync.i"):                                 "acme.dlq.finx.due.sync.i",
		c.DLQSubject("acme.finx.due.keepalive.i"):                            "acme.dlq.finx.due.keepalive.i",
		events.Codec{}.DLQSubject("callback.received.eu"):                    "dlq.callback.received.eu",
		events.Codec{}.OutputSubject(events.TypeConnectionFailed, "i", true): "connection.failed.i",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestStreamsOfTypes(t *testing.T) {
	for typ, want := range map[string]string{
		events.TypeConnectRequested: "FINX_REQUESTS", events.TypeSyncRequested: "FINX_REQUESTS", events.TypeErasureRequested: "FINX_REQUESTS",
		events.TypeCallbackReceived: "FINX_CALLBACKS", events.TypeTransactionsFetched: "FINX_EVENTS", "other": "",
	} {
		if got := events.StreamOf(typ); got != want {
			t.Errorf("%s: %q, want %q", typ, got, want)
		}
	}
	for _, typ := range allTypes() {
		if events.StreamOf(typ) == "" || events.IsInput(typ) == events.IsOutput(typ) {
			t.Errorf("%s: stream %q, input %v, output %v", typ, events.StreamOf(typ), events.IsInput(typ), events.IsOutput(typ))
		}
	}
}
