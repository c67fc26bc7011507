package app_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

// start runs a connector with streams, an in-memory keeper and a finX that is
// never called.
func start(t *testing.T, srv *natstest.Server, url string) (ended <-chan error) {
	t.Helper()
	s := load(t, map[string]string{
		"NATS_URL": url, "LISTEN_ADDR": "127.0.0.1:0",
		"FINX_BASE_URL": "http://127.0.0.1:1", "FINX_CLIENT_ID": "id", "FINX_CLIENT_SECRET": "geheim",
	})
	js := natstest.JetStream(t, srv.URL())
	topology := app.Topology(s)
	changes, err := topology.Diff(t.Context(), js)
	if err == nil {
		err = topology.Apply(t.Context(), js, changes)
	}
	if err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan string, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		done <- app.Run(ctx, app.Options{
			Settings: s, Logger: slog.New(slog.DiscardHandler), Secrets: vaultstoretest.NewMemory(),
			OnReady: func(addr string) { ready <- addr },
		})
	}()
	t.Cleanup(cancel)
	<-ready
	return done
}

// A bad message on the longest subject a broker lets through becomes a dead
// letter like any other; its own subject would be a protocol violation.
func TestAVeryLongSubjectEndsNothing(t *testing.T) {
	srv := natstest.Start(t)
	ended := start(t, srv, srv.URL())
	nc := natstest.Connect(t, srv.URL())
	long := "user.connect.requested." + strings.Repeat("x", 4025)
	for _, m := range []*nats.Msg{{Subject: long, Data: []byte("not JSON")}, {Subject: "user.connect.requested", Data: []byte("not JSON")}} {
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	js := natstest.JetStream(t, srv.URL())
	natstest.Eventually(t, 20*time.Second, func() bool {
		s, err := js.Stream(t.Context(), "FINX_DLQ")
		return err == nil && s.CachedInfo().State.Msgs == 2
	}, "both are dead letters")
	select {
	case err := <-ended:
		t.Errorf("the connector ended: %v", err)
	default:
	}
}

// meddler passes bytes between the connector and the broker, and can say
// something to the connector in the broker's name.
type meddler struct {
	net.Listener

	mu    sync.Mutex
	conns []net.Conn
}

func meddle(t *testing.T, broker string) *meddler {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meddler{Listener: ln}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", strings.TrimPrefix(broker, "nats://"))
			if err != nil {
				_ = client.Close()
				continue
			}
			m.mu.Lock()
			m.conns = append(m.conns, client)
			m.mu.Unlock()
			go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
			go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
		}
	}()
	return m
}

func (m *meddler) say(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		_, _ = io.WriteString(c, line+"\r\n")
	}
}

// A connection that no reconnect mends ends the process: one that cannot work
// must not look alive.
func TestAConnectionClosedForGoodEndsTheProcess(t *testing.T) {
	srv := natstest.Start(t)
	m := meddle(t, srv.URL())
	ended := start(t, srv, "nats://"+m.Addr().String())
	m.say("-ERR 'Maximum Control Line Exceeded'")
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "closed for good") {
			t.Errorf("error %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the process goes on without a connection")
	}
}
