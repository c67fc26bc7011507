package natstest

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startTries is how often a cluster is started on fresh ports: the ports are
// picked before they are used, and another process may take one in between.
const startTries = 3

// ClusterServers is a JetStream cluster inside the test process. Its methods
// must be called from the test's goroutine.
type ClusterServers struct {
	t     testing.TB
	Nodes []*Server
}

// Cluster starts n nodes (three are usual) and waits until they have elected a
// leader and every node has seen the others.
func Cluster(t testing.TB, n int, opts ...Option) *ClusterServers {
	t.Helper()
	for range startTries {
		c, ok := startCluster(t, n, opts)
		if !ok {
			c.Stop()
			continue
		}
		t.Cleanup(c.Stop)
		c.WaitReady()
		return c
	}
	t.Fatalf("natstest: starting a cluster of %d: not ready after %d tries", n, startTries)
	return nil
}

func startCluster(t testing.TB, n int, opts []Option) (*ClusterServers, bool) {
	t.Helper()
	ports := freePorts(t, n)
	routes := make([]*url.URL, n)
	for i, p := range ports {
		routes[i] = &url.URL{Scheme: "nats-route", Host: fmt.Sprintf("127.0.0.1:%d", p)}
	}
	c := &ClusterServers{t: t}
	for i := range n {
		o := baseOptions()
		for _, opt := range opts {
			opt(&o)
		}
		o.ServerName = fmt.Sprintf("node-%d", i+1)
		o.StoreDir = t.TempDir()
		if o.Cluster.Name == "" { // else of a configuration, with its TLS
			o.Cluster.Name = "natstest"
		}
		o.Cluster.Host, o.Cluster.Port, o.Cluster.PoolSize = "127.0.0.1", ports[i], -1
		o.Routes = routes
		node := &Server{t: t, opts: o}
		started := node.start()
		c.Nodes = append(c.Nodes, node)
		if !started {
			return c, false
		}
	}
	return c, true
}

// URL lists all nodes, so that a client finds another when one is gone.
func (c *ClusterServers) URL() string {
	urls := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		urls[i] = n.URL()
	}
	return strings.Join(urls, ",")
}

// WaitReady waits until the running nodes are current and their leader would place
// a stream on each of them: it must have heard from a node before it does.
func (c *ClusterServers) WaitReady() {
	c.t.Helper()
	Eventually(c.t, readyWithin, func() bool {
		leader := false
		for _, n := range c.Nodes {
			if !n.srv.Running() {
				continue
			}
			if !n.srv.JetStreamIsCurrent() || n.srv.NumRoutes() < c.running()-1 {
				return false
			}
			leader = leader || (n.srv.JetStreamIsLeader() && len(n.srv.JetStreamClusterPeers()) >= c.running())
		}
		return leader
	}, "cluster has a leader that knows every node")
}

func (c *ClusterServers) running() int {
	n := 0
	for _, node := range c.Nodes {
		if node.srv.Running() {
			n++
		}
	}
	return n
}

// StreamLeader returns the index of the node that leads a stream of the
// default account, waiting for one to be elected.
func (c *ClusterServers) StreamLeader(stream string) int {
	c.t.Helper()
	return c.leader(func(s *server.Server) bool {
		return s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream)
	}, "stream "+stream)
}

// ConsumerLeader returns the index of the node that leads a consumer.
func (c *ClusterServers) ConsumerLeader(stream, consumer string) int {
	c.t.Helper()
	return c.leader(func(s *server.Server) bool {
		return s.JetStreamIsConsumerLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream, consumer)
	}, "consumer "+consumer)
}

func (c *ClusterServers) leader(leads func(*server.Server) bool, of string) int {
	c.t.Helper()
	found := -1
	Eventually(c.t, readyWithin, func() bool {
		for i, n := range c.Nodes {
			if n.srv.Running() && leads(n.srv) {
				found = i
				return true
			}
		}
		return false
	}, of+" has a leader")
	return found
}

// Kill takes node i (from 0) away. Inside one process that is an orderly
// shutdown, which hands leadership over; for a SIGKILL use ExternalProcess.
func (c *ClusterServers) Kill(i int) { c.Nodes[i].Stop() }

// Restart brings node i back on its ports and store.
func (c *ClusterServers) Restart(i int) {
	c.t.Helper()
	c.Nodes[i].Restart()
}

// Stop shuts all nodes down.
func (c *ClusterServers) Stop() {
	for _, n := range c.Nodes {
		n.Stop()
	}
}

// freePorts reserves n ports and lets go of them together, so that they differ.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("natstest: reserving a port: %v", err)
		}
		defer func() { _ = l.Close() }()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports
}

// Eventually asks cond every few milliseconds until it is true, and fails the
// test when timeout has passed. what names the condition in that failure.
func Eventually(t testing.TB, timeout time.Duration, cond func() bool, what ...string) {
	t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("natstest: condition not met in %s: %s", timeout, strings.Join(what, " "))
		}
	}
}
