package natstest_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ctx10s(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func addStream(t *testing.T, js jetstream.JetStream, replicas int) {
	t.Helper()
	_, err := js.CreateStream(ctx10s(t), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
}

func publish(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	var ack *jetstream.PubAck
	natstest.Eventually(t, 20*time.Second, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var err error
		ack, err = js.Publish(ctx, "s.a", []byte("x"))
		return err == nil
	}, "publish acknowledged")
	return ack.Sequence
}

func TestRestartKeepsPortAndStore(t *testing.T) {
	s := natstest.Start(t, natstest.SyncAlways())
	js := natstest.JetStream(t, s.URL())
	addStream(t, js, 1)
	if seq := publish(t, js); seq != 1 {
		t.Fatalf("sequence %d before the restart, want 1", seq)
	}
	url := s.URL()
	s.Restart()
	if s.URL() != url {
		t.Fatalf("URL %s after the restart, want %s", s.URL(), url)
	}
	if seq := publish(t, js); seq != 2 {
		t.Fatalf("sequence %d after the restart, want 2", seq)
	}
}

func TestClusterSurvivesTheLossOfTheLeader(t *testing.T) {
	c := natstest.Cluster(t, 3)
	js := natstest.JetStream(t, c.URL())
	addStream(t, js, 3)
	natstest.WaitStreamLeader(t, js, "S")
	publish(t, js)
	leader := c.StreamLeader("S")
	c.Kill(leader)
	if seq := publish(t, js); seq < 2 {
		t.Fatalf("sequence %d with two nodes, want at least 2", seq)
	}
	c.Restart(leader)
	c.WaitReady()
}

func TestProcessKeepsAcknowledgedMessagesOverKill(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and kills the real server")
	}
	p := natstest.ExternalProcess(t)
	js := natstest.JetStream(t, p.URL())
	addStream(t, js, 1)
	publish(t, js)
	p.Kill()
	p.Start()
	if seq := publish(t, js); seq != 2 {
		t.Fatalf("sequence %d after the kill, want 2", seq)
	}
}

func TestClusterOfProcessesSurvivesAKill(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and kills the real server")
	}
	c := natstest.ExternalCluster(t, 3)
	js := natstest.JetStream(t, c.URL())
	addStream(t, js, 3)
	if _, err := js.CreateConsumer(ctx10s(t), "S", jetstream.ConsumerConfig{Durable: "d", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	publish(t, js)
	leader := c.StreamLeader(js, "S")
	c.Nodes[leader].Kill()
	if seq := publish(t, js); seq < 2 {
		t.Fatalf("sequence %d with two nodes, want at least 2", seq)
	}
	for role, node := range map[string]int{
		"stream leader": c.StreamLeader(js, "S"), "consumer leader": c.ConsumerLeader(js, "S", "d"), "our own": c.NodeOf(t.Name()),
	} {
		if node == leader {
			t.Errorf("the %s node is the dead one", role)
		}
	}
	c.Nodes[leader].Start()
	c.WaitHealthy(30 * time.Second)
}

func TestAcksAreReadFromTheWire(t *testing.T) {
	s := natstest.Start(t)
	js := natstest.JetStream(t, s.URL())
	addStream(t, js, 1)
	cons, err := js.CreateConsumer(ctx10s(t), "S", jetstream.ConsumerConfig{Durable: "d", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	log := natstest.RecordAcks(t, js.Conn(), "S", "d")
	publish(t, js)
	msg, err := cons.Next(jetstream.FetchMaxWait(5 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := msg.InProgress(); err != nil {
		t.Fatal(err)
	}
	if err := msg.TermWithReason("because"); err != nil {
		t.Fatal(err)
	}
	got := log.WaitVerdicts(t, 1, 5*time.Second)
	if len(got) != 1 || got[0].Body != "+TERM because" || got[0].Sequence != 1 || got[0].Delivered != 1 {
		t.Fatalf("acks %+v, want one +TERM of delivery 1, sequence 1", got)
	}
	if log.Heartbeats() != 1 {
		t.Fatalf("%d heartbeats, want 1", log.Heartbeats())
	}
}
