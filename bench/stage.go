package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natsconn"
	"github.com/finx-connector/finx-connector/settings"
)

// stage is what a process under measurement finds: a broker with empty streams,
// a finX and a Vault. Each run has its own, so that none inherits anything.
type stage struct {
	h *harness
	s scenario

	nc    *nats.Conn
	js    jetstream.JetStream
	codec events.Codec
	bank  *bank
	stub  *kvStub // nil when the Vault is real
	vault vaultAPI
	env   map[string]string // settings of the process
	stops []func() error
}

// openStage starts everything but the process. close it, also after an error.
func (h *harness) openStage(ctx context.Context, s scenario, data *recording) (*stage, error) {
	st := &stage{h: h, s: s}
	dir, err := os.MkdirTemp(h.dir, "stage-")
	if err != nil {
		return st, err
	}
	st.stops = append(st.stops, func() error { return os.RemoveAll(dir) })
	broker, url, err := h.startBroker(ctx, dir)
	if err != nil {
		return st, err
	}
	st.stops = append(st.stops, broker.stop)
	if st.bank, err = newBank(ctx, s, data); err != nil {
		return st, err
	}
	finxURL, err := st.serve(ctx, st.bank)
	if err != nil {
		return st, err
	}
	if err := st.openVault(ctx, dir); err != nil {
		return st, fmt.Errorf("starting Vault: %w", err)
	}
	listen, err := freeAddress(ctx)
	if err != nil {
		return st, err
	}
	forCallbacks := h.cfg.forCallbacks
	if forCallbacks == 0 {
		forCallbacks = max(1, s.Slots/finXCalls) // one call of four is a callback's, three are a fetch's
	}
	st.env = map[string]string{
		"NATS_URL": url, "LISTEN_ADDR": listen,
		"FINX_BASE_URL": finxURL, "FINX_CLIENT_ID": clientID, "FINX_CLIENT_SECRET": clientSecret,
		"VAULT_ADDR": st.vault.addr, "VAULT_TOKEN": st.vault.token,
		"ESCROW_KEY": base64.StdEncoding.EncodeToString(make([]byte, 32)), // sealed here: Transit would be a call now and then

		"PAGE_SIZE":            strconv.Itoa(s.Page),
		"CALLBACK_CONCURRENCY": strconv.Itoa(forCallbacks), "SYNC_CONCURRENCY": strconv.Itoa(s.Slots - forCallbacks),
	}
	return st, st.openBroker(ctx)
}

// openBroker connects and makes the streams, as `finx-connector streams apply` does.
func (st *stage) openBroker(ctx context.Context) error {
	env := maps.Clone(st.env)
	s, err := settings.Load("", func(name string) string { return env[name] }, nil, settings.Need{FinX: true, Vault: true})
	if err != nil {
		return err
	}
	cfg := app.NATSConfig(s)
	cfg.Name, cfg.Logger = "bench", slog.New(slog.DiscardHandler)
	if st.nc, err = natsconn.Connect(cfg); err != nil {
		return err
	}
	st.stops = append(st.stops, func() error { st.nc.Close(); return nil })
	if st.js, err = jetstream.New(st.nc); err != nil {
		return err
	}
	st.codec = app.Codec(s)
	topology := app.Topology(s)
	changes, err := topology.Diff(ctx, st.js)
	if err != nil {
		return fmt.Errorf("looking at the streams: %w", err)
	}
	return topology.Apply(ctx, st.js, changes)
}

func (st *stage) openVault(ctx context.Context, dir string) error {
	if st.h.cfg.vault == vaultStub {
		st.stub = &kvStub{}
		addr, err := st.serve(ctx, st.stub)
		st.vault = vaultAPI{addr: addr, token: "bench"}
		return err
	}
	proc, err := st.h.startVault(ctx, dir)
	if err != nil {
		return err
	}
	st.stops = append(st.stops, proc.Stop)
	st.vault = vaultAPI{addr: proc.Addr, token: proc.Token}
	return nil
}

// serve answers HTTP on a port of loopback until the stage is closed.
func (st *stage) serve(ctx context.Context, handler http.Handler) (url string, err error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	st.stops = append(st.stops, srv.Close)
	go func() { _ = srv.Serve(ln) }() // it ends with Close
	return "http://" + ln.Addr().String(), nil
}

// freeAddress is an address of loopback that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// close stops what was started, last in, first out.
func (st *stage) close() error {
	var errs []error
	for _, stop := range slices.Backward(st.stops) {
		errs = append(errs, stop())
	}
	st.stops = nil
	return errors.Join(errs...)
}
