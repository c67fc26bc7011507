package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natsconn"
	"github.com/finx-connector/finx-connector/settings"
)

// Who the sandbox thinks we are. Neither opens anything outside this process.
const (
	clientID     = "local"
	clientSecret = "local-secret"
	storyUser    = "newcomer@example.com"
)

// launch starts everything in the order in which one part needs the other:
// broker, secrets, sandbox, streams, connector, page. Then the story.
func launch(ctx context.Context, c config, p *printer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := os.MkdirAll(c.state, 0o700); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	unlock, err := lockState(c.state)
	if err != nil {
		return err
	}
	defer unlock()
	secrets, err := startKeeper(ctx, c, p)
	if err != nil {
		return err
	}
	defer secrets.stop()
	natsURL, stopBroker, err := broker(ctx, c, secrets.lasting, p)
	if err != nil {
		return err
	}
	defer stopBroker()
	sandbox, base, err := startSandbox(ctx, c)
	if err != nil {
		return err
	}
	p.stepf("finX sandbox at %s", base)
	listen, err := freeHostPort(ctx, c.listen)
	if err != nil {
		return fmt.Errorf("finding an address for the connector: %w", err)
	}
	s, err := connectorSettings(c, map[string]string{"NATS_URL": natsURL, "FINX_BASE_URL": base, "LISTEN_ADDR": listen}, secrets)
	if err != nil {
		return err
	}
	js, err := applyStreams(ctx, s, p)
	if err != nil {
		return err
	}
	stopConnector, err := startConnector(ctx, c, s, secrets.store, p, cancel)
	if err != nil {
		return err
	}
	defer stopConnector()
	watch := newObserver(p)
	if err := watch.watch(ctx, js, s.Streams.Events); err != nil {
		return err
	}
	up, pageURL, err := startPage(ctx, c, js, s, watch, p)
	if err != nil {
		return err
	}
	tale := story{up: up, seen: watch, sandbox: sandbox, print: p, want: c.transactions}
	return perform(ctx, c, tale, addresses{natsURL, base, pageURL, listen})
}

type addresses struct{ nats, sandbox, page, listen string }

// perform plays the story and stays up, unless it is to be played once.
func perform(ctx context.Context, c config, tale story, at addresses) error {
	tell, cancel := context.WithTimeoutCause(ctx, c.patience, fmt.Errorf("the story took longer than %s", c.patience))
	defer cancel()
	err := tale.play(tell, storyUser)
	if cause := context.Cause(tell); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err) // a library's own error does not say whose time ran out
	}
	if c.once || ctx.Err() != nil {
		return err
	}
	if err != nil {
		tale.print.stepf("the story went wrong: %v", err)
	}
	tale.print.plainf(`
Everything stays up until Ctrl-C.
  the same by hand    %s
  sandbox             %s
  NATS                %s   (export NATS_URL for finx-connector's commands)
  metrics             http://%s/metrics
`, at.page, at.sandbox, at.nats, at.listen)
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// broker returns the address of a JetStream server: one that runs already, or
// one embedded here. Streams without the secrets that belong to them would be
// a riddle, so beside an in-memory keeper they start empty, in a place of their own.
func broker(ctx context.Context, c config, lasting bool, p *printer) (url string, stop func(), err error) {
	if c.natsURL != "" {
		p.stepf("NATS as NATS_URL says")
		return c.natsURL, func() {}, nil
	}
	dir := filepath.Join(c.state, "nats")
	if !lasting {
		dir = filepath.Join(c.state, "nats-for-one-run")
		if err := os.RemoveAll(dir); err != nil {
			return "", nil, fmt.Errorf("emptying the streams: %w", err)
		}
	}
	url, stop, err = startBroker(ctx, c.nats, dir)
	if err == nil {
		p.stepf("JetStream server at %s, files in %s", url, dir)
	}
	return url, stop, err
}

// listenOn listens on addr, or on a free port of the same host.
func listenOn(ctx context.Context, addr string) (net.Listener, error) {
	free, err := freeHostPort(ctx, addr)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", free)
}

func startSandbox(ctx context.Context, c config) (*finxtest.Sandbox, string, error) {
	sandbox := finxtest.New(finxtest.Options{
		ClientID: clientID, ClientSecret: clientSecret,
		Shape: finxtest.Shape{Accounts: c.accounts, Transactions: c.transactions},
	})
	ln, err := listenOn(ctx, c.sandbox)
	if err != nil {
		return nil, "", fmt.Errorf("starting the sandbox: %w", err)
	}
	srv := &http.Server{Handler: sandbox, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	go func() { _ = srv.Serve(ln) }()
	return sandbox, "http://" + ln.Addr().String(), nil
}

// connectorSettings reads the settings as `finx-connector serve` does, from the
// environment, with the addresses of this run over it.
func connectorSettings(c config, ours map[string]string, k keeper) (settings.Settings, error) {
	ours["FINX_CLIENT_ID"], ours["FINX_CLIENT_SECRET"] = clientID, clientSecret
	maps.Copy(ours, k.env)
	getenv := func(name string) string {
		if v, ok := ours[name]; ok {
			return v
		}
		return c.getenv(name)
	}
	return settings.Load("", getenv, nil, settings.Need{FinX: true, Vault: k.store == nil})
}

// applyStreams does what `finx-connector streams apply` does.
func applyStreams(ctx context.Context, s settings.Settings, p *printer) (jetstream.JetStream, error) {
	cfg := app.NATSConfig(s)
	cfg.Name, cfg.Logger = "finx-local", slog.New(slog.DiscardHandler)
	nc, err := natsconn.Connect(cfg)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	topology := app.Topology(s)
	changes, err := topology.Diff(ctx, js)
	if err != nil {
		return nil, fmt.Errorf("looking at the streams: %w", err)
	}
	if err := topology.Apply(ctx, js, changes); err != nil {
		return nil, fmt.Errorf("applying the streams: %w", err)
	}
	p.stepf("streams, consumers and buckets applied (%d changes)", len(changes))
	return js, nil
}

// startConnector runs the connector in this process and returns when its lanes
// have started. The returned stop drains it.
func startConnector(ctx context.Context, c config, s settings.Settings, store app.Secrets, p *printer, fail context.CancelCauseFunc) (stop func(), err error) {
	sink := io.Discard
	if c.verbose {
		sink = os.Stderr
	}
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	started, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		err := app.Run(runCtx, app.Options{
			Settings: s, Version: "local", Secrets: store, OnReady: func(addr string) { started <- addr },
			Logger: slog.New(slog.NewTextHandler(sink, &slog.HandlerOptions{Level: s.Process.LogLevel})),
		})
		fail(err)
		ended <- err
	}()
	stop = func() {
		cancel()
		<-ended //nolint:errcheck // fail has it
	}
	select {
	case addr := <-started:
		p.stepf("connector started, health and metrics at http://%s", addr)
		return stop, nil
	case err := <-ended:
		cancel()
		return nil, err
	}
}

func startPage(ctx context.Context, c config, js jetstream.JetStream, s settings.Settings, watch *observer, p *printer) (*upstream, string, error) {
	ln, err := listenOn(ctx, c.page)
	if err != nil {
		return nil, "", fmt.Errorf("starting the page: %w", err)
	}
	base := "http://" + ln.Addr().String()
	up := &upstream{js: js, codec: app.Codec(s), print: p, redirectURI: base + "/callback"}
	newPage(up, watch).serve(ctx, ln)
	p.stepf("page that plays upstream at %s", base)
	return up, base, nil
}
