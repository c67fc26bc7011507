package replay_test

import (
	"encoding/json"
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

// A stream that was made again has other messages under the sequences of the plan,
// or none: neither is replayed, and neither is called completed.
func TestAReplayOfAStreamThatWasMadeAgainIsRefused(t *testing.T) {
	for name, filled := range map[string]int{"shorter": 10, "longer": 100} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{})
			r.fill(40)
			j := r.plan(replay.Request{Mode: replay.Outputs})
			if result, err := r.interruptAfter(j, 20); err == nil || result.Replayed != 20 {
				t.Fatalf("%v, %+v", err, result)
			}
			s, err := r.js.Stream(t.Context(), events.StreamEvents)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.js.DeleteStream(t.Context(), events.StreamEvents); err != nil {
				t.Fatal(err)
			}
			if _, err := r.js.CreateStream(t.Context(), s.CachedInfo().Config); err != nil {
				t.Fatal(err)
			}
			for n := range filled {
				r.output(part(id(1), "mallory", 5000+n, ""))
			}
			if _, err := r.replayer().Resume(t.Context(), j.ID(), nil); err == nil || !strings.Contains(err.Error(), "plan a new one") {
				t.Errorf("%v", err)
			}
			if n := len(r.stream(events.StreamEvents)); n != filled {
				t.Errorf("%d messages, want %d", n, filled)
			}
		})
	}
}

// What was planned and is not there any more is counted.
func TestMessagesThatGoAfterThePlanAreCounted(t *testing.T) {
	r := newRig(t, setup{})
	r.fill(30)
	j := r.plan(replay.Request{Mode: replay.Outputs})
	s, err := r.js.Stream(t.Context(), events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(21)); err != nil {
		t.Fatal(err)
	}
	if result := r.run(j); result.Replayed != 10 || result.Matched != 30 || result.Gone != 20 || result.Outcome != replay.Completed {
		t.Errorf("%+v", result)
	}
	if again := r.run(r.resume(j.ID())); again.Gone != 20 {
		t.Errorf("%+v", again)
	}
}

// The stream of --to may keep what comes under another subject: after a kill the
// copies are found all the same.
func TestCopiesAreFoundUnderAnotherSubject(t *testing.T) {
	r := newRig(t, setup{})
	r.fill(30)
	target := r.target("in.here", func(c *jetstream.StreamConfig) {
		c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "in.here", Destination: "kept.there"}
		c.Duplicates = 100 * time.Millisecond
	})
	replayID := r.killAfter(replay.Request{Mode: replay.Outputs, To: "in.here"}, 12)
	r.forgets(target)
	if result := r.run(r.resume(replayID)); result.Duplicates != 12 || result.Replayed != 18 {
		t.Errorf("%+v", result)
	}
	r.holds(target, replayID, 30)
}

// Nothing of a user whose connection was erased is stored again.
func TestTheConnectOfAnErasedConnectionIsLeftOut(t *testing.T) {
	r := newRig(t, setup{})
	r.input(events.TypeConnectRequested, "up-1", map[string]any{"user_id": "alice", "redirect_uri": "https://app.example/cb"})
	rec, err := established(t, events.ConnectionID(events.Envelope{ID: "up-1", Source: "/nats/FINX_REQUESTS"}), "alice").Move(connection.Erased, time.Now(), "asked for")
	if err != nil {
		t.Fatal(err)
	}
	r.record(rec)
	if p := r.plan(replay.Request{Mode: replay.Inputs}).Planned; p.Messages != 0 || len(p.Skipped) != 1 || p.Skipped[0].Reason != "its connection was erased" {
		t.Errorf("%+v", p)
	}
}

// A reload of an old renewal, which was ignored when it came, must not try tokens
// of today once they are lost: it would be told as a failure of now.
func TestAnOldRenewalIsNotTriedAgain(t *testing.T) {
	r := newRig(t, setup{})
	rec := established(t, id(1), "alice")
	if err := r.store.BindState(t.Context(), "s-old-renewal", id(1)); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{"state": "s-old-renewal", "success": true})
	if err != nil {
		t.Fatal(err)
	}
	r.publish(&nats.Msg{Subject: events.TypeCallbackReceived, Data: raw})
	rec.EstablishedAt, rec.OAuthState = time.Now().UTC().Add(time.Second), "s-first"
	if rec, err = rec.RequireReauthorization(time.Now().Add(2*time.Second), "refresh_rejected", "s-new-renewal"); err != nil {
		t.Fatal(err)
	}
	r.record(rec)
	if p := r.plan(replay.Request{Mode: replay.Inputs}).Planned; p.Messages != 0 || p.BankCalls != 0 || len(p.Skipped) != 1 || !strings.Contains(p.Skipped[0].Reason, "established again") {
		t.Errorf("%+v", p)
	}
}

// The same stream under another leader is the same stream.
func TestAStreamOfAnotherLeaderIsNotMadeAgain(t *testing.T) {
	cluster := natstest.Cluster(t, 3)
	r := newRig(t, setup{url: cluster.URL(), config: streams.Config{Replicas: 3}})
	r.fill(30)
	j := r.plan(replay.Request{Mode: replay.Outputs})
	if _, err := r.interruptAfter(j, 10); err == nil {
		t.Fatal("not interrupted")
	}
	down := cluster.StreamLeader(events.StreamEvents)
	cluster.Kill(down)
	natstest.WaitStreamLeader(t, r.js, events.StreamEvents)
	if rest := r.resume(j.ID()); rest.Planned.Messages != 20 {
		t.Errorf("%+v", rest.Planned)
	}
	cluster.Restart(down)
	cluster.WaitReady()
	natstest.WaitStreamLeader(t, r.js, events.StreamEvents)
	if result := r.run(r.resume(j.ID())); result.Replayed != 30 || result.Gone != 0 {
		t.Errorf("%+v", result)
	}
}
