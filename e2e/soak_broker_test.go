package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

// brokerNodes are three nodes of a cluster as processes of their own, which can be
// killed and stopped one by one. They keep their addresses to themselves, so a
// client uses only those it was given.
type brokerNodes struct {
	nodes []*brokerNode
}

type brokerNode struct {
	t      testing.TB
	bin    string
	conf   string
	addr   string // host:port for clients
	log    *os.File
	cmd    *exec.Cmd
	exited chan struct{}
}

const brokerConf = `server_name: node-%d
listen: %q
cluster { name: soak, listen: %q, no_advertise: true, routes: [%s] }
jetstream { store_dir: %q, sync_interval: always, max_file_store: 17179869184 }
`

// startBroker builds the server and starts three nodes that know each other.
func startBroker(t testing.TB, logs string) *brokerNodes {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "nats-server")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("building the broker: %v\n%s", err, out)
	}
	const n = 3
	var clients, peers, routes []string
	for range n {
		clients, peers = append(clients, freeAddress(t)), append(peers, freeAddress(t))
	}
	for _, p := range peers {
		routes = append(routes, "nats-route://"+p)
	}
	b := &brokerNodes{}
	for i := range n {
		node := &brokerNode{t: t, bin: bin, conf: filepath.Join(dir, fmt.Sprintf("node-%d.conf", i+1)), addr: clients[i]}
		text := fmt.Sprintf(brokerConf, i+1, clients[i], peers[i], strings.Join(routes, ", "), filepath.Join(dir, fmt.Sprintf("store-%d", i+1)))
		if err := os.WriteFile(node.conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		node.log = openLog(t, filepath.Join(logs, fmt.Sprintf("broker-%d.log", i+1)))
		node.start()
		t.Cleanup(node.kill)
		b.nodes = append(b.nodes, node)
	}
	b.waitReady(t)
	return b
}

// waitReady waits until the cluster makes a bucket of three copies.
func (b *brokerNodes) waitReady(t testing.TB) {
	t.Helper()
	natstest.Eventually(t, within, func() bool {
		c, err := net.Dial("tcp", b.nodes[0].addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, "first node listens")
	js, err := jetstream.New(natstest.Connect(t, b.url(), nats.RetryOnFailedConnect(true)))
	if err != nil {
		t.Fatal(err)
	}
	cfg := jetstream.KeyValueConfig{Bucket: "soak_ready", Replicas: len(b.nodes), Storage: jetstream.MemoryStorage}
	natstest.Eventually(t, within, func() bool {
		_, err := js.CreateKeyValue(t.Context(), cfg)
		return err == nil || errors.Is(err, jetstream.ErrBucketExists)
	}, "cluster places three copies")
	if err := js.DeleteKeyValue(t.Context(), cfg.Bucket); err != nil {
		t.Fatal(err)
	}
}

// url lists the nodes themselves.
func (b *brokerNodes) url() string {
	var urls []string
	for _, n := range b.nodes {
		urls = append(urls, "nats://"+n.addr)
	}
	return strings.Join(urls, ",")
}

// start does not wait until the node listens.
func (n *brokerNode) start() {
	n.t.Helper()
	n.cmd = exec.Command(n.bin, "-c", n.conf)
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait() // it is killed
		close(exited)
	}(n.cmd, n.exited)
}

func (n *brokerNode) kill() {
	_ = n.cmd.Process.Kill() // a dead one stays dead
	<-n.exited
}

func (n *brokerNode) signal(sig syscall.Signal) {
	if err := n.cmd.Process.Signal(sig); err != nil {
		n.t.Errorf("signalling a broker node: %v", err)
	}
}

// openLog makes a file that a process writes to.
func openLog(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
