// Package vaulttest gives tests a real Vault: the core of tools/vaultdev as a
// process of its own, or the server named by VAULT_ADDR and VAULT_TOKEN, so
// that the same tests run against a container or an enterprise server.
//
// Without a server a test fails; it never skips. Tests share a server and keep
// apart by mounts (Server.Mount), which cost 5 ms each; a process costs some
// 0.3 s and 70 MB. A server ends with its test binary, whatever happens to it,
// because it watches its standard input.
package vaulttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/vaultdev"
)

// startTimeout bounds the first build of the server, which compiles the whole
// of Vault's core.
const startTimeout = 20 * time.Minute

// Server is a running Vault and the token with every right on it.
type Server struct {
	Addr, Token string

	unsealKey string
	process   *vaultdev.Process // nil for an external server
	args      []string          // to start it again on the same data and port
}

// Start returns the server of VAULT_ADDR or one of this test's own, in memory,
// which ends with the test. Use Shared when many tests need one.
func Start(t testing.TB) *Server {
	t.Helper()
	if s, ok := external(); ok {
		return s
	}
	return StartOwn(t, "inmem")
}

// StartOwn starts a server of this test's own, whatever VAULT_ADDR says, for
// tests that seal it, freeze it or kill it. The storage is "inmem" (gone with
// the process), "file" or "raft" (kept over Kill and Restart).
func StartOwn(t testing.TB, storage string) *Server {
	t.Helper()
	args := []string{"-listen", "127.0.0.1:0", "-storage", storage}
	if storage != "inmem" {
		args = append(args, "-path", t.TempDir())
	}
	s, err := launch(t.Context(), t.Output(), args)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.end(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Shared is one server for all tests of a package. The zero value is ready:
//
//	var vault vaulttest.Shared
//
//	func TestMain(m *testing.M) { os.Exit(vault.Run(m)) }
//
//	func TestX(t *testing.T) { server := vault.Start(t) … }
type Shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Start returns the server, started at the first call.
func (s *Shared) Start(t testing.TB) *Server {
	t.Helper()
	s.once.Do(func() {
		if own, ok := external(); ok {
			s.server = own
			return
		}
		s.server, s.err = launch(context.Background(), t.Output(), []string{"-listen", "127.0.0.1:0"})
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server
}

// Run runs the tests, ends the server and returns the exit code.
func (s *Shared) Run(m interface{ Run() int }) int {
	code := m.Run()
	if s.server == nil {
		return code
	}
	if err := s.server.end(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

func external() (*Server, bool) {
	addr := os.Getenv("VAULT_ADDR")
	return &Server{Addr: addr, Token: os.Getenv("VAULT_TOKEN")}, addr != ""
}

func launch(ctx context.Context, progress interface{ Write([]byte) (int, error) }, args []string) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	root, err := vaultdev.Root(".")
	if err != nil {
		return nil, err
	}
	binary, err := vaultdev.Binary(ctx, root, progress)
	if err != nil {
		return nil, err
	}
	s := &Server{args: append([]string{binary}, args...)}
	return s, s.start(ctx)
}

func (s *Server) start(ctx context.Context) error {
	p, err := vaultdev.Start(ctx, s.args[0], s.args[1:]...)
	if err != nil {
		return err
	}
	s.process, s.Addr, s.Token, s.unsealKey = p, p.Addr, p.Token, p.UnsealKey
	return nil
}

// end stops the process; a frozen one is thawed first, because SIGTERM would
// wait for that. A test that killed its server has nothing left to stop.
func (s *Server) end() error {
	if s.process == nil {
		return nil
	}
	select {
	case <-s.process.Done():
		return nil
	default:
	}
	err := s.process.Signal(syscall.SIGCONT)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return errors.Join(err, s.process.Stop())
}

// Stop freezes the server with SIGSTOP: connections stay open, nothing answers.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGSTOP)
	for s.answers(t) { // the kernel stops a process of many threads in its own time
	}
}

func (s *Server) answers(t testing.TB) bool {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, _, err := s.Try(ctx, "", http.MethodGet, "sys/health", nil)
	return err == nil
}

// Resume lets a frozen server go on.
func (s *Server) Resume(t testing.TB) { t.Helper(); s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	s.mustOwn(t)
	if err := s.process.Signal(sig); err != nil {
		t.Fatalf("vaulttest: sending %v: %v", sig, err)
	}
}

// Kill ends the server as a crash would.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.mustOwn(t)
	if err := s.process.Kill(); err != nil {
		t.Fatalf("vaulttest: killing: %v", err)
	}
}

// Restart starts a killed server again, on the same data and the same port.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.mustOwn(t)
	u, err := url.Parse(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	s.args[2] = net.JoinHostPort(host, port) // the value of -listen
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) mustOwn(t testing.TB) {
	t.Helper()
	if s.process == nil {
		t.Fatal("vaulttest: an external server is not ours to disturb; use StartOwn")
	}
}
