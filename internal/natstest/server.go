// Package natstest starts real NATS servers with JetStream for tests: one node
// in this process, three nodes in this process, or the real binary as a
// process of its own that can be killed. A single node costs about 10 ms, a
// cluster about a second, so no test has a reason to mock the broker.
//
// Everything started here is stopped by t.Cleanup, files live in t.TempDir, and
// no goroutine stays behind. Only tests may import this package: it links the
// server.
package natstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// readyWithin bounds a start. The usual start takes milliseconds; the bound is
// for a machine that compiles beside the test.
const readyWithin = 30 * time.Second

// maxStore is set because the server otherwise derives the limit from the free
// disk, which makes tests depend on the machine.
const maxStore = 4 << 30

// Option changes the options a server starts with.
type Option func(*server.Options)

// SyncAlways makes the store fsync before it acknowledges, as production does.
func SyncAlways() Option { return func(o *server.Options) { o.SyncAlways = true } }

// MaxPayload sets the largest message in bytes, headers included; the server's
// default is 1 MiB.
func MaxPayload(n int32) Option { return func(o *server.Options) { o.MaxPayload = n } }

// StoreDir keeps the store in dir instead of a fresh temporary directory.
func StoreDir(dir string) Option { return func(o *server.Options) { o.StoreDir = dir } }

// WithOptions gives f the options of the server, for accounts and permissions.
func WithOptions(f func(*server.Options)) Option { return Option(f) }

// Server is one JetStream server inside the test process. Its methods must be
// called from the test's goroutine.
type Server struct {
	t    testing.TB
	opts server.Options
	srv  *server.Server
}

// Start starts a server on a free port of 127.0.0.1 and waits until it accepts
// connections. It is stopped when the test ends.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s := &Server{t: t, opts: baseOptions()}
	for _, opt := range opts {
		opt(&s.opts)
	}
	if s.opts.StoreDir == "" {
		s.opts.StoreDir = t.TempDir()
	}
	if !s.start() {
		t.Fatal("natstest: starting a server: not ready in time")
	}
	t.Cleanup(s.Stop)
	return s
}

func baseOptions() server.Options {
	return server.Options{
		Host:              "127.0.0.1",
		Port:              server.RANDOM_PORT,
		JetStream:         true,
		JetStreamMaxStore: maxStore,
		NoLog:             true,
		NoSigs:            true,
	}
}

// start runs the server with a copy of the options, because the server writes
// defaults into what it is given, and keeps the port for the next start.
func (s *Server) start() bool {
	opts := s.opts
	srv, err := server.NewServer(&opts)
	if err != nil {
		s.t.Fatalf("natstest: configuring a server: %v", err)
	}
	srv.Start()
	s.srv = srv
	if !srv.ReadyForConnections(readyWithin) {
		s.Stop()
		return false
	}
	s.opts.Port = opts.Port
	return true
}

// URL is where clients connect. It stays the same over Stop and Restart.
func (s *Server) URL() string { return s.srv.ClientURL() }

// Raw is the server itself, for what this package has no word for.
func (s *Server) Raw() *server.Server { return s.srv }

// Stop shuts the server down and waits for it. The store stays. Stopping a
// stopped server does nothing.
func (s *Server) Stop() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}

// Restart starts the server again after Stop (and stops it before, if need
// be), on the same port and the same store.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if !s.start() {
		s.t.Fatal("natstest: restarting a server: not ready in time")
	}
}

// Reload changes the options of the running server, as a reload of its
// configuration does: accounts and permissions, for those connected too. A later
// Restart keeps the change.
func (s *Server) Reload(opts ...Option) {
	s.t.Helper()
	for _, opt := range opts {
		opt(&s.opts)
	}
	now := s.opts
	if err := s.srv.ReloadOptions(&now); err != nil {
		s.t.Fatalf("natstest: reloading a server: %v", err)
	}
}
