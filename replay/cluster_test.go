package replay_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/replay"
	"github.com/finx-connector/finx-connector/streams"
)

// The leader of the stream that is read and written goes away in the middle of a
// replay, and then the next one: nothing is missed, nothing comes twice.
func TestAReplayRidesThroughElections(t *testing.T) {
	cluster := natstest.Cluster(t, 3)
	r := newRig(t, setup{url: cluster.URL(), config: streams.Config{Replicas: 3}})
	r.fill(300)
	target := r.target("elsewhere", func(c *jetstream.StreamConfig) { c.Replicas = 3 })
	for name, to := range map[string]string{"own": "", "elsewhere": "elsewhere"} {
		t.Run(name, func(t *testing.T) {
			stream := target
			if to == "" {
				stream = events.StreamEvents
			}
			j := r.plan(replay.Request{Mode: replay.Outputs, To: to, Selection: replay.Selection{ToSeq: 300}})
			down := -1
			result, err := j.Run(t.Context(), replay.RunOptions{Rate: 1e5, Progress: func(p replay.Progress) {
				switch p.Done {
				case 100:
					down = cluster.StreamLeader(stream)
					cluster.Kill(down)
				case 200:
					cluster.Restart(down)
					cluster.WaitReady()
					natstest.WaitStreamLeader(t, r.js, stream)
				}
			}})
			if err != nil || result.Replayed != 300 || result.Duplicates != 0 || result.Outcome != replay.Completed {
				t.Fatalf("%v, %+v", err, result)
			}
			t.Logf("300 messages in %s", result.FinishedAt.Sub(result.StartedAt).Round(time.Millisecond))
			natstest.Eventually(t, 30*time.Second, func() bool { return len(r.stream(stream)) >= 300 }, "the copies are there")
			r.holds(stream, j.ID(), 300)
		})
	}
}

// The node that leads the stream is killed outright: what it was asked last may be
// stored or not, and is stored once in the end.
func TestAReplayRidesThroughTheKillOfALeader(t *testing.T) {
	cluster := natstest.ExternalCluster(t, 3)
	r := newRig(t, setup{url: cluster.URL(), config: streams.Config{Replicas: 3}})
	cluster.WaitHealthy(time.Minute)
	r.fill(200)
	j := r.plan(replay.Request{Mode: replay.Outputs})
	longest, last := time.Duration(0), time.Now()
	result, err := j.Run(t.Context(), replay.RunOptions{Rate: 1e5, Progress: func(p replay.Progress) {
		if p.Done == 80 {
			cluster.Nodes[cluster.StreamLeader(r.js, events.StreamEvents)].Kill()
			last = time.Now()
		}
		longest, last = max(longest, time.Since(last)), time.Now()
	}})
	if err != nil || result.Replayed != 200 || result.Duplicates != 0 || result.Outcome != replay.Completed {
		t.Fatalf("%v, %+v", err, result)
	}
	r.holds(events.StreamEvents, j.ID(), 200)
	t.Logf("the longest wait was %s", longest.Round(time.Millisecond))
}
