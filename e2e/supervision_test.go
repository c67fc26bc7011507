package e2e_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// mishap is something that is taken away from under a running connector.
type mishap struct {
	name string
	take func(*supervised)
	// trigger is the work during which it shows; nil when it shows by itself.
	trigger func(*supervised)
	says    []string // what /readyz says meanwhile
	mend    func(*supervised)
	// outcome waits for what became of the work that was under way.
	outcome func(*supervised)
}

// supervised is an installation whose broker knows the connector as a user of its
// own, behind a wire that can be cut.
type supervised struct {
	*rig
	broker *natstest.Server
	wire   *wire
	p      *process
	cause  string // id of the event that waits for the mending
	known  string // an established connection
}

func newSupervised(t *testing.T) *supervised {
	t.Helper()
	s := &supervised{broker: natstest.Start(t, users())}
	at, err := url.Parse(s.broker.URL())
	if err != nil {
		t.Fatal(err)
	}
	s.wire = newWire(t, at.Host)
	s.rig = newRig(t, options{
		broker: func(testing.TB) string { return "nats://operator:operator@" + at.Host },
		env: map[string]string{
			"NATS_URL": "nats://connector:connector@" + s.wire.addr(),
			// So that one event in trouble is enough to be told of it.
			"PUBLISH_TIMEOUT": "1s", "BREAKER_FAILURES": "1", "BREAKER_WAIT_MAX": "1s",
		},
	})
	s.p = s.serveAnywhere(true)
	return s
}

// users are the operator, who may do everything, and the connector, who may do
// everything else.
func users(denied ...string) natstest.Option {
	return natstest.WithOptions(func(o *server.Options) {
		connector := &server.User{Username: "connector", Password: "connector"}
		if len(denied) > 0 {
			connector.Permissions = &server.Permissions{Publish: &server.SubjectPermission{Deny: denied}}
		}
		o.Users = []*server.User{{Username: "operator", Password: "operator"}, connector}
	})
}

func mishaps() []mishap {
	const apply = "run `finx-connector streams apply`"
	refuse := func(subjects ...string) func(*supervised) {
		return func(s *supervised) { s.broker.Reload(users(subjects...)) }
	}
	remake := func(s *supervised) { s.apply(s.settings()) }
	return []mishap{
		{
			name: "consumer deleted", take: func(s *supervised) { s.deleteConsumer(events.StreamRequests, "finx-syncs") },
			trigger: fetchAsked, says: []string{"lane syncs", "consumer finx-syncs missing on FINX_REQUESTS: " + apply},
			mend: remake, outcome: fetchDone,
		},
		{
			name: "input stream deleted", take: deleteStreams(events.StreamRequests),
			says: []string{"lane connects", "lane syncs", "stream FINX_REQUESTS is missing: " + apply},
			mend: remake,
		},
		{
			name: "timers deleted", take: deleteStreams(events.StreamTimers),
			says: []string{"lane due", "stream FINX_TIMERS is missing: " + apply},
			mend: remake,
		},
		{
			name: "output stream missing", take: deleteStreams(events.StreamEvents),
			trigger: linkAsked, says: []string{"lane connects", "FINX_EVENTS", apply},
			mend: func(s *supervised) {
				remake(s)
				s.seen = newObserver(s.t, s.js, s.codec, false)
			},
			outcome: linkMade,
		},
		{
			name: "dead letters have no stream", take: deleteStreams(events.StreamDLQ),
			trigger: func(s *supervised) { s.publish(events.TypeConnectRequested, []byte("{}")) },
			says:    []string{"lane connects", "dead letters cannot be stored"},
			mend:    remake, outcome: letterStored,
		},
		{
			name: "records missing", take: deleteStreams("KV_finx_connections"),
			trigger: linkAsked, says: []string{"finx_connections", apply},
			mend: remake, outcome: linkMade,
		},
		{
			name: "leases missing", take: deleteStreams("KV_finx_leases"),
			trigger: fetchAsked, says: []string{"finx_leases", apply},
			mend: remake, outcome: fetchDone,
		},
		{
			name: "connection cut", take: func(s *supervised) { s.wire.set(cut) },
			trigger: fetchAsked, says: []string{notReady("nats"), "reconnecting since", "not connected to NATS, reconnecting"},
			mend: func(s *supervised) { s.wire.set(whole) }, outcome: fetchDone,
		},
		{
			name: "may not take", take: refuse("$JS.API.CONSUMER.MSG.NEXT.FINX_REQUESTS.finx-syncs"),
			trigger: fetchAsked, says: []string{"lane syncs", "the NATS user lacks a permission", "$JS.API.CONSUMER.MSG.NEXT.FINX_REQUESTS.finx-syncs"},
			mend: refuse(), outcome: fetchDone,
		},
		{
			name: "may not publish", take: refuse(events.TypeWidgetLinkCreated),
			trigger: linkAsked, says: []string{"lane connects", "the broker refuses this user to publish to " + events.TypeWidgetLinkCreated},
			mend: refuse(), outcome: linkMade,
		},
	}
}

// TestWhatIsTakenAwayAndMended holds that the connector says in words what is
// wrong, lives on, and goes on by itself when it was put right.
func TestWhatIsTakenAwayAndMended(t *testing.T) {
	t.Parallel()
	sideBySide(t, 4, mishaps(), func(m mishap) string { return m.name }, func(t *testing.T, m mishap) {
		s := newSupervised(t)
		if m.name != "records missing" { // those of the connections are gone with it
			link, _ := s.establish("before@example.com")
			s.known = link.ConnectionID
		}
		taken := time.Now()
		m.take(s)
		if m.trigger != nil {
			m.trigger(s)
		}
		s.ready(s.p, http.StatusServiceUnavailable, m.says...)
		said := time.Now()
		m.mend(s)
		s.ready(s.p, http.StatusOK, "")
		if m.outcome != nil {
			m.outcome(s)
		}
		t.Logf("said after %s, over %s after it was mended", said.Sub(taken).Round(time.Millisecond), time.Since(said).Round(time.Millisecond))
		s.establish("afterwards@example.com")
		if letters := s.seen.lettersSoFar(); len(letters) > 0 && m.name != "dead letters have no stream" {
			t.Errorf("dead letter %s: %s", header(letters[0], "Dlq-Reason"), header(letters[0], "Dlq-Error"))
		}
		if code, _ := s.p.term(within); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

func deleteStreams(names ...string) func(*supervised) {
	return func(s *supervised) {
		s.t.Helper()
		for _, name := range names {
			if err := s.js.DeleteStream(s.t.Context(), name); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

func (s *supervised) deleteConsumer(stream, durable string) {
	s.t.Helper()
	if err := s.js.DeleteConsumer(s.t.Context(), stream, durable); err != nil {
		s.t.Fatal(err)
	}
}

func linkAsked(s *supervised) {
	s.cause = s.send(events.TypeConnectRequested, map[string]any{"user_id": "meanwhile@example.com", "redirect_uri": redirectURI})
}

func linkMade(s *supervised) { s.link(s.cause) }

func fetchAsked(s *supervised) { s.cause = s.send(events.TypeSyncRequested, syncData(s.known)) }

func fetchDone(s *supervised) {
	s.t.Helper()
	s.parts(s.event("the fetch asked for meanwhile", func(e event) bool { return e.Type == events.TypeFetchCompleted && e.CausationID == s.cause }))
}

func letterStored(s *supervised) {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), events.StreamDLQ)
	if err != nil {
		s.t.Fatal(err)
	}
	natstest.Eventually(s.t, within, func() bool {
		info, err := stream.Info(s.t.Context(), jetstream.WithSubjectFilter(">"))
		return err == nil && slices.ContainsFunc(keys(info.State.Subjects), func(subject string) bool { return strings.HasPrefix(subject, events.SubjectDLQ+".") })
	}, "the dead letter stored")
}

func keys(m map[string]uint64) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	return all
}
