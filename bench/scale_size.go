package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/vaultdev"
)

// sizeFigures are what was measured with so many connections, by name. The names
// are those of figureNames.
type sizeFigures struct {
	Connections int                `json:"connections"`
	Figures     map[string]float64 `json:"figures"`
	Held        map[string]stored  `json:"held"` // by stream, before anything came due
}

// sized is a stage whose servers are measured one by one.
type sized struct {
	*stage

	cfg    scaleConfig
	dir    string
	broker *child
	vault  *vaultdev.Process
	ids    []string
	filled time.Time // when the broker was last written to
	got    sizeFigures
}

// size measures n connections on servers of their own.
func (h *harness) size(ctx context.Context, cfg scaleConfig, n int, p pattern) (got sizeFigures, err error) {
	h.sayf("%d connections", n)
	dir, err := os.MkdirTemp(h.dir, "size-")
	if err != nil {
		return got, err
	}
	s := &sized{stage: &stage{h: h}, cfg: cfg, dir: dir, got: sizeFigures{Connections: n, Figures: map[string]float64{}}}
	s.stops = append(s.stops, func() error { return os.RemoveAll(dir) })
	defer func() { err = errors.Join(err, s.close()) }()
	for range n {
		s.ids = append(s.ids, events.NewUUID())
	}
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"starting the servers", s.open},
		{"filling the broker", func(ctx context.Context) error { return s.fillBroker(ctx, p) }},
		{"filling Vault", func(ctx context.Context) error { return s.fillVault(ctx, p) }},
		{"weighing the broker", func(ctx context.Context) error {
			rss, err := s.atRest(ctx, s.filled)
			s.set("nats_rss", rss)
			return err
		}},
		{"listing", s.list},
		{"walking the records", s.walk},
		{"running a connector", s.runConnector},
		{"starting the broker again", s.restart},
	}
	for _, step := range steps {
		begun := time.Now()
		if err := step.do(ctx); err != nil {
			return s.got, fmt.Errorf("%s: %w", step.name, err)
		}
		h.sayf("  %s: %s", step.name, time.Since(begun).Round(time.Millisecond))
	}
	return s.got, nil
}

func (s *sized) set(name string, value float64) { s.got.Figures[name] = value }

func (s *sized) open(ctx context.Context) error {
	broker, url, err := s.h.startBroker(ctx, s.storeDir())
	if err != nil {
		return err
	}
	s.broker = broker
	s.stops = append(s.stops, func() error { return s.broker.stop() })
	if s.vault, err = s.h.startVault(ctx, s.dir); err != nil {
		return fmt.Errorf("starting Vault: %w", err)
	}
	s.stops = append(s.stops, s.vault.Stop)
	s.stage.vault = vaultAPI{addr: s.vault.Addr, token: s.vault.Token}
	bank, err := newBank(ctx, scenario{Transactions: 1, Page: 100}, &recording{answers: map[string][]byte{}})
	if err != nil {
		return err
	}
	finxURL, err := s.serve(ctx, bank)
	if err != nil {
		return err
	}
	s.env = map[string]string{
		"NATS_URL":      url,
		"FINX_BASE_URL": finxURL, "FINX_CLIENT_ID": clientID, "FINX_CLIENT_SECRET": clientSecret,
		"VAULT_ADDR": s.vault.Addr, "VAULT_TOKEN": s.vault.Token,
		"ESCROW_KEY": base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"SWEEP_RATE": "100000", // as fast as it goes: what is measured is what one secret costs
	}
	return s.openBroker(ctx)
}

func (s *sized) storeDir() string { return filepath.Join(s.dir, "nats") }

// atRest lets the broker's caches go, which have been idle since then, and returns
// what stays in memory.
func (s *sized) atRest(ctx context.Context, since time.Time) (float64, error) {
	select {
	case <-time.After(time.Until(since.Add(s.cfg.rest))):
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	if err := s.broker.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		return 0, err
	}
	select {
	case <-time.After(2 * time.Second): // the collection, however large the heap
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	now, _, err := memory(s.broker.cmd.Process.Pid)
	return float64(now), err
}

// onDisk is what lies below a directory, or a file.
func onDisk(path string) (float64, error) {
	var total float64
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			total += float64(st.Blocks) * 512
		}
		return nil
	})
	return total, err
}

// ofStream is what a stream has on disk.
func (s *sized) ofStream(name string) (float64, error) {
	return onDisk(filepath.Join(s.storeDir(), "jetstream", "$G", "streams", name))
}

// restart measures how long the broker takes to be back, after a stop and after
// a kill, and what it holds then.
func (s *sized) restart(ctx context.Context) error {
	s.nc.Close()
	for _, how := range []string{"stopped", "killed"} {
		if how == "killed" {
			_ = s.broker.cmd.Process.Kill()
			<-s.broker.done
		} else if err := s.broker.stop(); err != nil {
			return err
		}
		begun := time.Now()
		broker, _, err := s.h.startBroker(ctx, s.storeDir())
		if err != nil {
			return fmt.Errorf("after it was %s: %w", how, err)
		}
		s.set("nats_start_"+how, time.Since(begun).Seconds())
		s.broker = broker
	}
	rss, err := s.atRest(ctx, time.Now())
	s.set("nats_rss_restarted", rss)
	return err
}

const recordsStream = "KV_finx_connections"
