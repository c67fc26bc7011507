package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// brokerCommand makes this program a JetStream server and nothing else, so that
// the broker is a process of its own without being installed anywhere.
const brokerCommand = "broker"

// brokerMain serves until standard input ends, which it does when the process
// that holds the other end is gone, however that ended.
func brokerMain(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet(brokerCommand, flag.ContinueOnError)
	fs.SetOutput(stderr)
	dir := fs.String("dir", "", "store directory")
	always := fs.Bool("sync-always", false, "sync every write")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "finx-bench", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: *dir, SyncAlways: *always, NoLog: true, NoSigs: true,
	})
	if err == nil {
		srv.Start()
		if !srv.ReadyForConnections(brokerStart) {
			err = errors.New("not ready in time")
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench: starting the broker:", err)
		return 1
	}
	collect := make(chan os.Signal, 1)
	signal.Notify(collect, syscall.SIGUSR2)
	go func() {
		for range collect { // what is resident after this is what is held
			debug.FreeOSMemory()
		}
	}()
	fmt.Fprintln(stdout, readyWord, srv.ClientURL())
	_, _ = io.Copy(io.Discard, stdin) // whatever ends it, we are done
	srv.Shutdown()
	srv.WaitForShutdown()
	return 0
}

const brokerStart = 5 * time.Minute // a large store is read before the server is ready

// startBroker starts a JetStream server with an empty store.
func (h *harness) startBroker(ctx context.Context, dir string) (*child, string, error) {
	args := []string{brokerCommand, "-dir", dir}
	if h.cfg.syncAlways {
		args = append(args, "-sync-always")
	}
	c, err := startChild(h.self, args, nil)
	if err != nil {
		return nil, "", err
	}
	url, err := c.ready(ctx)
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("starting the broker: %w", err), c.stop())
	}
	return c, url, nil
}
