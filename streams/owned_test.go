package streams

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestSubjectHeldByAnUnnamedStream(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "TEAM", Subjects: []string{"callback.>"}}); err != nil {
		t.Fatal(err)
	}
	topology := Plan(Config{})
	apply(t, topology, js) // everything else is made
	changes := diff(t, topology, js)
	want := "stream TEAM already holds callback.received: name it in STREAM_CALLBACKS"
	if len(changes) != 1 || !strings.Contains(lines(changes), want) {
		t.Errorf("want one line with %q:\n%s", want, lines(changes))
	}
}

func TestOwnedStreams(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	topology := Plan(Config{Owned: Names{Callbacks: "TEAM", Events: "TEAM_OUT", Timers: "NONE"}})
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "TEAM", Subjects: []string{"orders.>"}, Retention: jetstream.InterestPolicy, MaxAge: time.Hour},
		{Name: "TEAM_OUT", Subjects: []string{"connection.>", "transactions.fetched"}},
	} {
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	apply(t, topology, js)
	changes := diff(t, topology, js)
	text := lines(changes)
	for _, want := range []string{
		"manual  stream TEAM: subjects: is orders.>, want callback.received callback.received.>; remedy: ",
		"manual  stream TEAM: retention: is Interest, want Limits",
		"manual  stream TEAM: max_age: is 1h0m0s, want at least 24h0m0s",
		"manual  stream TEAM_OUT: subjects: is connection.> transactions.fetched, want also widget.link.created transactions.fetch.completed transactions.fetch.failed",
		"manual  stream NONE: missing, though named in STREAM_TIMERS",
		`manual  consumer finx-callbacks on TEAM: filter callback.received callback.received.>; remedy: it belongs to another team`,
		`"durable_name":"finx-callbacks"`,
		`manual  consumer finx-due on NONE`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the diff lacks %q", want)
		}
	}
	if len(Pending(changes)) != 0 {
		t.Errorf("something on another team's stream would be changed:\n%s", lines(Pending(changes)))
	}
	if t.Failed() {
		t.Log(text)
	}
	team, err := js.Stream(t.Context(), "TEAM")
	if err != nil {
		t.Fatal(err)
	}
	for name := range team.ConsumerNames(t.Context()).Name() {
		t.Errorf("consumer %s was made on another team's stream", name)
	}
}

func TestOwnedStreamThatFits(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	topology := Plan(Config{PerConnection: true, Owned: Names{Callbacks: "TEAM", Events: "TEAM_OUT"}})
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "TEAM", Subjects: []string{"callback.received.*"}},
		{Name: "TEAM_OUT", Subjects: []string{"connection.>", "transactions.>", "widget.link.created.*"}},
	} {
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	// Their transactions.> swallows our sync requests: they must name that too.
	if text := lines(diff(t, topology, js)); !strings.Contains(text, "TEAM_OUT already holds transactions.sync.requested: name it in STREAM_SYNCS") {
		t.Fatal(text)
	}
	info := mustStream(t, js, "TEAM_OUT").Config
	info.Subjects = []string{"connection.>", "transactions.fetched.*", "transactions.fetch.*.*", "widget.link.created.*"}
	mustUpdate(t, js, info)
	i := 0
	for i = range topology.consumers {
		if topology.consumers[i].want.Durable == DurableCallbacks {
			break
		}
	}
	if _, err := js.CreateConsumer(t.Context(), "TEAM", topology.consumers[i].want); err != nil {
		t.Fatal(err)
	}
	apply(t, topology, js)
	if after := diff(t, topology, js); len(after) != 0 {
		t.Errorf("a fitting stream of another team is drift:\n%s", lines(after))
	}
}

func TestOwnedStreamOfAllRequestsIsReportedOnce(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	topology := Plan(Config{Owned: Names{Connects: "TEAM", Syncs: "TEAM", Erasures: "TEAM"}})
	text := lines(diff(t, topology, js))
	if n := strings.Count(text, "stream TEAM: missing, though named in STREAM_REQUESTS"); n != 1 {
		t.Errorf("said %d times:\n%s", n, text)
	}
	for _, durable := range []string{DurableConnects, DurableSyncs, DurableErasures} {
		if !strings.Contains(text, "manual  consumer "+durable+" on TEAM") {
			t.Errorf("nothing said of %s:\n%s", durable, text)
		}
	}
	if strings.Contains(text, "FINX_REQUESTS") {
		t.Errorf("a stream of ours is planned beside it:\n%s", text)
	}
}
