package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// brokerStart bounds the start of the embedded server; it takes milliseconds.
const brokerStart = 20 * time.Second

// startBroker starts a real JetStream server inside this process. Its files are
// synced at every write, as in production.
func startBroker(ctx context.Context, addr, dir string) (url string, stop func(), err error) {
	host, port, err := freeAddress(ctx, addr)
	if err != nil {
		return "", nil, err
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "finx-local", Host: host, Port: port,
		JetStream: true, StoreDir: dir, SyncAlways: true,
		NoLog: true, NoSigs: true,
	})
	if err != nil {
		return "", nil, fmt.Errorf("configuring the JetStream server: %w", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(brokerStart) {
		srv.Shutdown()
		return "", nil, errors.New("the JetStream server did not start: is another finx-local using the same state directory?")
	}
	return srv.ClientURL(), func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}, nil
}

// freeAddress returns addr, or the same host with a free port when somebody
// listens on addr already: a newcomer with a NATS server of their own should
// not have to know about ports.
func freeAddress(ctx context.Context, addr string) (host string, port int, err error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		host, _, splitErr := net.SplitHostPort(addr)
		if splitErr != nil {
			return "", 0, fmt.Errorf("reading the address %q: %w", addr, splitErr)
		}
		if ln, err = lc.Listen(ctx, "tcp", net.JoinHostPort(host, "0")); err != nil {
			return "", 0, fmt.Errorf("finding a free port: %w", err)
		}
	}
	defer func() { _ = ln.Close() }()
	host, text, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}

// freeHostPort is freeAddress in one piece.
func freeHostPort(ctx context.Context, addr string) (string, error) {
	host, port, err := freeAddress(ctx, addr)
	return net.JoinHostPort(host, strconv.Itoa(port)), err
}
