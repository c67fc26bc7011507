package replay_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/replay"
	"github.com/finx-connector/finx-connector/streams"
)

// envelope is what the connector makes of a stored message.
func (r *rig) envelope(m events.Message) events.Envelope {
	r.t.Helper()
	e, err := r.cfg.Codec.Parse(m)
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

// Inputs keep their business ids in every form, and their place and time of
// storing do not matter any more.
func TestInputsAreTheSameEventsAgain(t *testing.T) {
	r := newRig(t, setup{})
	connect := map[string]any{"user_id": "alice", "redirect_uri": "https://app.example/cb"}
	r.input(events.TypeConnectRequested, "upstream-1", connect)
	r.input(events.TypeConnectRequested, "", connect) // named by its place
	body, err := events.EncodeInput(events.TypeConnectRequested, "structured-1", time.Now(), events.Cause{TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		events.ConnectRequested{UserID: "bob", RedirectURI: "https://app.example/cb"})
	if err != nil {
		t.Fatal(err)
	}
	r.publish(&nats.Msg{Subject: "user.connect.requested.eu.1", Data: body, Header: nats.Header{"Content-Type": {events.ContentTypeStructured}, "X-Own": {"1"}}})
	raw, _ := json.Marshal(connect)
	r.publish(&nats.Msg{Subject: "user.connect.requested", Data: raw, Header: nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"binary-1"}, "ce-source": {"/u"}, "ce-type": {"user.connect.requested"},
	}})
	before := r.stream(events.StreamRequests)
	j := r.plan(replay.Request{Mode: replay.Inputs})
	if p := j.Planned; p.Messages != 4 || p.BankCalls != 4 || p.Connections != 4 || p.Types[0].Done != 0 {
		t.Errorf("%+v", p)
	}
	if result := r.run(j); result.Replayed != 4 {
		t.Errorf("%+v", result)
	}
	after := r.stream(events.StreamRequests)[4:]
	for i, m := range after {
		was, is := r.envelope(before[i]), r.envelope(m)
		if events.ConnectionID(is) != events.ConnectionID(was) || is.ID != was.ID || !is.Time.Equal(was.Time) || string(is.Data) != string(was.Data) ||
			is.TraceParent != was.TraceParent || is.ReplayID != j.ID() || m.Subject != before[i].Subject {
			t.Errorf("%d:\n got %+v\nwant %+v", i, is, was)
		}
		if want := fmt.Sprintf("replay:%s:FINX_REQUESTS:%d", j.ID(), i+1); m.Header[events.HeaderMsgID][0] != want {
			t.Errorf("%d: message id %s, want %s", i, m.Header[events.HeaderMsgID], want)
		}
	}
	if after[2].Header["X-Own"] == nil || string(after[2].Data) != string(before[2].Data) {
		t.Errorf("%+v", after[2])
	}
	if p := r.plan(replay.Request{Mode: replay.Inputs}).Planned; p.Messages != 4 || len(p.Skipped) != 1 || p.Skipped[0].Count != 4 {
		t.Errorf("copies of inputs: %+v", p)
	}
}

// world is a stream of inputs with a record of every kind.
func (r *rig) world() {
	t := r.t
	now := time.Now().UTC()
	connect := func(eventID, state string) string {
		r.input(events.TypeConnectRequested, eventID, map[string]any{"user_id": "user " + eventID, "redirect_uri": "https://app.example/cb", "state": state})
		return events.ConnectionID(events.Envelope{ID: eventID, Source: "/nats/FINX_REQUESTS"})
	}
	bind := func(state, connectionID, code string) {
		if err := r.store.BindState(t.Context(), state, connectionID); err != nil {
			t.Fatal(err)
		}
		b, err := r.store.LookupState(t.Context(), state)
		if err == nil && code != "" {
			err = r.store.ConsumeState(t.Context(), state, b, hash(code), now)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	say := func(state, code string) {
		r.input(events.TypeCallbackReceived, events.NewUUID(), callback(state, code))
	}

	// done: connected, exchanged, fetched
	done := connect("done", "s-done")
	rec := established(t, done, "user done")
	rec.EstablishedBy = hash(canaryCode + "-done")
	rec = rec.OpenFetch("f", "callback", connection.Ask{}, now.Add(time.Minute)).CloseFetch(now.Add(time.Minute), map[string]connection.AccountMark{"A1": {}, "A2": {}, "A3": {}}, 2500)
	syncID := "sync-done"
	rec = rec.MarkFetchDone(events.FetchID(events.Envelope{ID: syncID, Source: "/nats/FINX_REQUESTS"}))
	r.record(rec)
	bind("s-done", done, canaryCode+"-done")
	say("s-done", canaryCode+"-done")                                                                                 // done
	say("s-done", canaryCode+"-injected")                                                                             // consumed by another
	r.input(events.TypeSyncRequested, syncID, map[string]any{"connection_id": done})                                  // done
	r.input(events.TypeSyncRequested, "sync-forgotten", map[string]any{"connection_id": done})                        // superseded
	r.input(events.TypeSyncRequested, "sync-window", map[string]any{"connection_id": done, "since": "2026-01-01"})    // 1 + 3 accounts × 1 page
	r.input(events.TypeErasureRequested, "erase", map[string]any{"user_id": "user done"})                             // only when named
	r.input(events.TypeConnectRequested, "malformed", map[string]any{"user_id": 7})                                   // malformed
	r.input(events.TypeSyncRequested, "sync-nobody", map[string]any{"connection_id": id(99)})                         // no record
	say("s-unknown", canaryCode+"-unknown")                                                                           // unknown state
	r.publish(&nats.Msg{Subject: "callback.received", Data: []byte(`{"state":"s-done","code":"` + canaryCode + `"`)}) // no JSON

	waiting := connect("waiting", "s-waiting") // has its link; nobody came back yet
	w := connection.New(waiting, "user waiting", now)
	w, err := w.Move(connection.LinkCreated, now, "")
	if err != nil {
		t.Fatal(err)
	}
	r.record(w)
	bind("s-waiting", waiting, "")
	say("s-waiting", canaryCode+"-fresh") // not done: exchange and first fetch

	late, err := events.EncodeInput(events.TypeCallbackReceived, "late", now.Add(-2*time.Hour), events.Cause{}, []byte(`{"state":"s-waiting","success":true,"code":"`+canaryCode+`-late"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.publish(&nats.Msg{Subject: "callback.received", Data: late}) // too old: not sent
	r.input(events.TypeCallbackReceived, "cancel", map[string]any{"state": "s-waiting", "cancel": true})

	connect("new", "s-new") // no record: a link
}

func TestThePlanOfInputsSaysWhatIsNotDone(t *testing.T) {
	r := newRig(t, setup{})
	r.world()
	everything := fmt.Sprint(r.everything())
	p := r.plan(replay.Request{Mode: replay.Inputs}).Planned
	if fmt.Sprint(r.everything()) != everything {
		t.Error("planning changed the broker")
	}
	got := map[string]string{}
	for _, c := range p.Types {
		got[c.Type] = fmt.Sprintf("%d messages, %d done, %d calls", c.Messages, c.Done, c.BankCalls)
	}
	for typ, want := range map[string]string{
		events.TypeConnectRequested: "3 messages, 2 done, 1 calls",
		events.TypeSyncRequested:    "2 messages, 1 done, 4 calls",
		events.TypeCallbackReceived: "4 messages, 3 done, 3 calls",
	} {
		if got[typ] != want {
			t.Errorf("%s: %s, want %s", typ, got[typ], want)
		}
	}
	if p.BankCalls != 8 || p.Messages != 9 {
		t.Errorf("%d messages, %d calls", p.Messages, p.BankCalls)
	}
	reasons := map[string]int{}
	for _, s := range p.Skipped {
		word, _, _ := strings.Cut(s.Reason, ":")
		reasons[word] = s.Count
	}
	for reason, n := range map[string]int{
		"malformed": 2, "erasure request": 1, "its state is unknown": 1, "its state is consumed by another code": 1,
		"there is no record of its connection": 1, "a later fetch has completed; replay refetch asks for a new one": 1,
	} {
		if reasons[reason] != n {
			t.Errorf("%q: %d, want %d", reason, reasons[reason], n)
		}
	}
	if text, _ := json.Marshal(p); strings.Contains(string(text), canaryCode) {
		t.Errorf("the plan prints a code: %s", text)
	}
}

func TestInputsAreChosen(t *testing.T) {
	r := newRig(t, setup{})
	r.world()
	done := events.ConnectionID(events.Envelope{ID: "done", Source: "/nats/FINX_REQUESTS"})
	for name, tc := range map[string]struct {
		selection replay.Selection
		want      map[string]int
	}{
		"connection": {replay.Selection{Connection: done}, map[string]int{events.TypeConnectRequested: 1, events.TypeSyncRequested: 2, events.TypeCallbackReceived: 1}},
		"user":       {replay.Selection{User: "user waiting"}, map[string]int{events.TypeConnectRequested: 1, events.TypeCallbackReceived: 3}},
		"subject":    {replay.Selection{Subject: "callback.received"}, map[string]int{events.TypeCallbackReceived: 4}},
		"erasures":   {replay.Selection{Subject: "user.erasure.requested"}, map[string]int{events.TypeErasureRequested: 1}},
		"broad":      {replay.Selection{Subject: "user.>"}, map[string]int{events.TypeConnectRequested: 3}},
		"sequences":  {replay.Selection{Subject: "user.connect.requested", FromSeq: 1, ToSeq: 1}, map[string]int{events.TypeConnectRequested: 1}},
		"nobody":     {replay.Selection{User: "nobody"}, map[string]int{}},
	} {
		p := r.plan(replay.Request{Mode: replay.Inputs, Selection: tc.selection}).Planned
		got := map[string]int{}
		for _, c := range p.Types {
			got[c.Type] = c.Messages
		}
		if fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// A callback is replayed with its code, which is nowhere else than in its stream.
func TestCallbacksKeepTheirCodeAndTellNobody(t *testing.T) {
	r := newRig(t, setup{})
	r.world()
	before := r.stream(events.StreamCallbacks)
	result := r.run(r.plan(replay.Request{Mode: replay.Inputs}))
	if result.Replayed != 9 || result.Skipped != 7 {
		t.Errorf("%+v", result)
	}
	copies := r.stream(events.StreamCallbacks)[len(before):]
	if len(copies) != 4 {
		t.Fatalf("%d callbacks replayed, want 4", len(copies))
	}
	in, err := events.DecodeCallbackReceived(r.envelope(copies[0]))
	if err != nil || in.Code.SHA256() != hash(canaryCode+"-done") {
		t.Errorf("%v, another code", err)
	}
	if text, _ := json.Marshal(result); strings.Contains(string(text), canaryCode) {
		t.Errorf("%s", text)
	}
	for name := range r.everything() {
		if name == events.StreamCallbacks {
			continue
		}
		for _, m := range r.stream(name) {
			if strings.Contains(m.Subject+string(m.Data)+fmt.Sprint(m.Header), canaryCode) {
				t.Errorf("%s %d has the code", name, m.Sequence)
			}
		}
	}
}

// Streams that belong to another team hold other people's messages as well.
func TestInputsInAnotherTeamsStream(t *testing.T) {
	srv := natstest.Start(t)
	maker := natstest.JetStream(t, srv.URL())
	if _, err := maker.CreateStream(t.Context(), jetstream.StreamConfig{Name: "TEAM", Subjects: []string{"user.>", "callback.>", "orders.>"}}); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, setup{url: srv.URL(), config: streams.Config{Owned: streams.Names{Connects: "TEAM", Erasures: "TEAM", Callbacks: "TEAM"}}})
	r.cfg.Streams = replay.Streams{Connects: "TEAM", Erasures: "TEAM", Callbacks: "TEAM"}
	r.publish(&nats.Msg{Subject: "orders.new", Data: []byte("x")})
	r.input(events.TypeConnectRequested, "", map[string]any{"user_id": "alice", "redirect_uri": "https://app.example/cb"})
	r.publish(&nats.Msg{Subject: "user.left", Data: []byte("x")})
	before := r.stream("TEAM")
	j := r.plan(replay.Request{Mode: replay.Inputs})
	if p := j.Planned; p.Messages != 1 || len(p.Skipped) != 0 || len(p.Streams) != 2 {
		t.Errorf("%+v", p)
	}
	r.run(j)
	after := r.stream("TEAM")
	if len(after) != 4 {
		t.Fatalf("%d messages", len(after))
	}
	if was, is := r.envelope(before[1]), r.envelope(after[3]); events.ConnectionID(was) != events.ConnectionID(is) {
		t.Errorf("%+v, was %+v", is, was)
	}
	// All of it is one stream: sequences say which messages are meant.
	if p := r.plan(replay.Request{Mode: replay.Inputs, Selection: replay.Selection{Subject: "user.>", FromSeq: 1, ToSeq: 2}}).Planned; p.Messages != 1 {
		t.Errorf("%+v", p)
	}
}
