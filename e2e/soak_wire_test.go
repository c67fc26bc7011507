package e2e_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// wire is a TCP connection between a connector and a server that a test can cut.
// Unlike a gate it knows nothing of what passes and keeps nothing, so it may
// carry hours of traffic, and NATS.
type wire struct {
	ln net.Listener
	to string

	mu      sync.Mutex
	state   wireState
	healthy chan struct{} // closed while the wire is whole
	conns   map[net.Conn]bool
	ended   bool
}

type wireState int

const (
	whole   wireState = iota
	cut               // connections are reset, new ones too
	stalled           // connections stay, and nothing gets through
)

// newWire listens on a free port and passes everything on to the server at to.
func newWire(t testing.TB, to string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{ln: ln, to: to, healthy: make(chan struct{}), conns: map[net.Conn]bool{}}
	close(w.healthy)
	var running sync.WaitGroup
	running.Go(func() { w.accept(&running) })
	t.Cleanup(func() {
		w.end()
		running.Wait()
	})
	return w
}

// addr is where clients connect.
func (w *wire) addr() string { return w.ln.Addr().String() }

// set changes what happens to connections, those that are open too.
func (w *wire) set(state wireState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	if w.state == whole && state != whole {
		w.healthy = make(chan struct{})
	}
	if w.state != whole && state == whole {
		close(w.healthy)
	}
	if w.state = state; state == cut {
		w.resetAll()
	}
}

// resetAll is for holders of w.mu.
func (w *wire) resetAll() {
	for c := range w.conns {
		reset(c)
	}
	clear(w.conns)
}

// reset closes a connection so that the other side sees an error and no end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a connection that is closed already needs no reset
	}
	_ = c.Close()
}

func (w *wire) end() {
	w.set(whole) // nobody may wait any more
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	_ = w.ln.Close()
	w.resetAll()
}

func (w *wire) accept(running *sync.WaitGroup) {
	for {
		client, err := w.ln.Accept()
		if err != nil {
			return // closed
		}
		running.Go(func() { w.carry(client) })
	}
}

// carry connects a client to the server until one of them hangs up or the wire is cut.
func (w *wire) carry(client net.Conn) {
	if !w.keep(client) {
		return
	}
	defer w.drop(client)
	w.wait() // a stalled network completes no handshake with the server behind it
	server, err := net.Dial("tcp", w.to)
	if err != nil || !w.keep(server) {
		reset(client)
		return
	}
	defer w.drop(server)
	var both sync.WaitGroup
	both.Go(func() { w.pump(server, client) })
	both.Go(func() { w.pump(client, server) })
	both.Wait()
}

func (w *wire) pump(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			w.wait()
			if _, err := to.Write(buf[:n]); err != nil {
				reset(from)
				return
			}
		}
		if errors.Is(err, io.EOF) {
			if tcp, ok := to.(*net.TCPConn); ok {
				_ = tcp.CloseWrite() // the other direction may go on
			}
			return
		}
		if err != nil {
			reset(to)
			return
		}
	}
}

// wait returns when the wire does not stall.
func (w *wire) wait() {
	w.mu.Lock()
	state, healthy := w.state, w.healthy
	w.mu.Unlock()
	if state == stalled {
		<-healthy
	}
}

// keep notes a connection, unless the wire is cut.
func (w *wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state == cut || w.ended {
		reset(c)
		return false
	}
	w.conns[c] = true
	return true
}

func (w *wire) drop(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
	_ = c.Close()
}
