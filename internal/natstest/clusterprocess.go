package natstest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// ClusterProcesses is a JetStream cluster of real servers, each a process of its
// own with sync_interval always, for tests that kill them. Its methods must be
// called from the test's goroutine.
type ClusterProcesses struct {
	t     testing.TB
	Nodes []*Process
	said  []server.HealthStatus // of each node, when it was last asked
}

// ExternalCluster starts n nodes (three are usual) and waits until they are one
// cluster.
func ExternalCluster(t testing.TB, n int) *ClusterProcesses {
	t.Helper()
	bin := binary(t)
	for range startTries {
		c := launchCluster(t, bin, n)
		t.Cleanup(func() {
			c.kill()
			if t.Failed() {
				t.Logf("natstest: the nodes last said of their health: %+v", c.said)
			}
		})
		if c.formed() {
			return c
		}
		c.kill() // a port was taken in between
	}
	t.Fatalf("natstest: starting a cluster of %d processes: not ready after %d tries", n, startTries)
	return nil
}

func launchCluster(t testing.TB, bin string, n int) *ClusterProcesses {
	t.Helper()
	ports := freePorts(t, 2*n)
	routes := make([]string, n)
	for i := range routes {
		routes[i] = fmt.Sprintf("\"nats-route://127.0.0.1:%d\"", ports[i])
	}
	c := &ClusterProcesses{t: t}
	for i := range n {
		p := &Process{t: t, bin: bin, dir: t.TempDir(), port: ports[n+i]}
		// One side of each pair dials: where both do, both connections may be dropped as a
		// duplicate of the other, and what was under way on them is lost. The first
		// names itself, because JetStream wants a route.
		p.extra = fmt.Sprintf("server_name: %s\ncluster { name: natstest, listen: \"127.0.0.1:%d\", pool_size: -1, routes: [%s] }\n",
			nodeName(i), ports[i], strings.Join(routes[:i+1], ", "))
		p.launch()
		c.Nodes = append(c.Nodes, p)
	}
	return c
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i+1) }

// formed waits until the nodes are a cluster whose leader knows all of them, or
// one of them has ended.
func (c *ClusterProcesses) formed() bool {
	c.t.Helper()
	dead := false
	Eventually(c.t, readyWithin, func() bool {
		for _, n := range c.Nodes {
			select {
			case <-n.exited:
				dead = true
			default:
			}
		}
		return dead || c.whole()
	}, "processes are a cluster")
	return !dead
}

// whole reports whether every node runs and the leader of all knows every node.
func (c *ClusterProcesses) whole() bool {
	leaders := 0
	for _, n := range c.Nodes {
		var jsz server.JSInfo
		var routez server.Routez
		if !n.listens() || !n.ask("/jsz", &jsz) || jsz.Meta == nil || jsz.Meta.Leader == "" || jsz.Meta.Size != len(c.Nodes) {
			return false
		}
		if !n.ask("/routez", &routez) || routez.NumRoutes < len(c.Nodes)-1 {
			return false
		}
		if len(jsz.Meta.Replicas) == len(c.Nodes)-1 {
			leaders++
		}
	}
	return leaders > 0
}

// WaitHealthy waits until every node runs and says of itself that each of its
// streams and consumers has caught up: only then does the loss of another node
// leave a majority of each.
func (c *ClusterProcesses) WaitHealthy(within time.Duration) {
	c.t.Helper()
	c.said = make([]server.HealthStatus, len(c.Nodes))
	Eventually(c.t, within, func() bool {
		for i, n := range c.Nodes {
			c.said[i] = server.HealthStatus{}
			if !n.ask("/healthz?details=true", &c.said[i]) || c.said[i].Status != "ok" {
				return false
			}
		}
		return c.whole()
	}, "every node has caught up")
}

// URL lists all nodes, so that a client finds another when one is gone.
func (c *ClusterProcesses) URL() string {
	urls := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		urls[i] = n.URL()
	}
	return strings.Join(urls, ",")
}

// StreamLeader returns the index of the node that leads a stream, waiting for
// one to be elected.
func (c *ClusterProcesses) StreamLeader(js jetstream.JetStream, stream string) int {
	c.t.Helper()
	return c.leader("stream "+stream, func(ctx context.Context) (*jetstream.ClusterInfo, error) {
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return nil, err
		}
		return s.CachedInfo().Cluster, nil
	})
}

// ConsumerLeader returns the index of the node that leads a consumer.
func (c *ClusterProcesses) ConsumerLeader(js jetstream.JetStream, stream, consumer string) int {
	c.t.Helper()
	return c.leader("consumer "+consumer, func(ctx context.Context) (*jetstream.ClusterInfo, error) {
		cons, err := js.Consumer(ctx, stream, consumer)
		if err != nil {
			return nil, err
		}
		return cons.CachedInfo().Cluster, nil
	})
}

func (c *ClusterProcesses) leader(of string, info func(context.Context) (*jetstream.ClusterInfo, error)) int {
	c.t.Helper()
	found := -1
	Eventually(c.t, readyWithin, func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		defer cancel()
		cluster, err := info(ctx)
		if err != nil || cluster == nil {
			return false
		}
		for i := range c.Nodes {
			if cluster.Leader == nodeName(i) {
				found = i
			}
		}
		return found >= 0
	}, of+" has a leader")
	return found
}

// NodeOf returns the index of the node that a client of that name is connected
// to, waiting for one.
func (c *ClusterProcesses) NodeOf(client string) int {
	c.t.Helper()
	found := -1
	Eventually(c.t, readyWithin, func() bool {
		for i, n := range c.Nodes {
			var connz server.Connz
			if !n.ask("/connz", &connz) {
				continue
			}
			for _, conn := range connz.Conns {
				if conn.Name == client {
					found = i
					return true
				}
			}
		}
		return false
	}, "client "+client+" is connected")
	return found
}

func (c *ClusterProcesses) kill() {
	for _, n := range c.Nodes {
		n.Kill()
	}
}

// ask reads one page of the server's monitoring; false when there is none.
func (p *Process) ask(page string, into any) bool {
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.monitor+page, nil)
	if err != nil {
		return false
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	return json.NewDecoder(resp.Body).Decode(into) == nil
}
