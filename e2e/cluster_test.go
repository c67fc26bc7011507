package e2e_test

import (
	"os"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natsconn"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestBrokerNodesAreKilledUnderLoad kills one of three brokers after the other,
// each time the one that hurts most, while users come and go, and then counts:
// nothing that the broker had acknowledged may be missing, and nothing may be
// there twice under two names.
func TestBrokerNodesAreKilledUnderLoad(t *testing.T) {
	rounds := 3
	if os.Getenv("FINX_TEST_LONG") != "" {
		rounds = 20
	}
	brokers := natstest.ExternalCluster(t, 3)
	r := newRig(t, options{
		broker: func(testing.TB) string { return brokers.URL() },
		// Tokens that end soon are rotated in the middle of it.
		sandbox: finxtest.Options{RevokeOnReuse: true, AccessLifetime: 4 * time.Second, Shape: finxtest.Shape{Accounts: 2, Transactions: 120}},
		env:     map[string]string{"STREAM_REPLICAS": "3", "FINX_REFRESH_SKEW": "1s", "PAGE_SIZE": "40", "CHUNK_BYTES": "16KiB"},
	})
	brokers.WaitHealthy(patience)
	p := r.serve()
	victims := []struct {
		role string
		node func() int
	}{
		{"leader of " + events.StreamEvents, func() int { return brokers.StreamLeader(r.js, events.StreamEvents) }},
		{"leader of finx-syncs", func() int { return brokers.ConsumerLeader(r.js, events.StreamRequests, "finx-syncs") }},
		{"the connector's own", func() int { return brokers.NodeOf(natsconn.DefaultName) }},
		{"leader of finx_connections", func() int { return brokers.StreamLeader(r.js, "KV_finx_connections") }},
		{"leader of " + events.StreamRequests, func() int { return brokers.StreamLeader(r.js, events.StreamRequests) }},
		{"leader of finx_leases", func() int { return brokers.StreamLeader(r.js, "KV_finx_leases") }},
		{"leader of finx-callbacks", func() int { return brokers.ConsumerLeader(r.js, events.StreamCallbacks, "finx-callbacks") }},
	}
	l := newLoad(r, 2)
	l.run(6)
	l.progress(events.TypeFetchCompleted, 10)
	for round := range rounds {
		victim := victims[round%len(victims)]
		node := victim.node()
		brokers.Nodes[node].Kill()
		killed := time.Now()
		l.progress(events.TypeFetchCompleted, 10)
		brokers.Nodes[node].Start()
		brokers.WaitHealthy(patience)
		t.Logf("round %d, node %d (%s) was killed: no output for %s, all nodes had caught up after %s",
			round+1, node+1, victim.role, l.silence(killed).Round(time.Millisecond), time.Since(killed).Round(time.Millisecond))
		l.progress(events.TypeFetchCompleted, 5)
	}
	l.end()
	r.idle(events.StreamCallbacks, "finx-callbacks")
	r.idle(events.StreamRequests, "finx-syncs")
	l.audit()
	if code, _ := p.term(within); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
