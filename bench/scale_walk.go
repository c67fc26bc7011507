package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
)

// list asks Vault for all names, as the sweep does.
func (s *sized) list(ctx context.Context) error {
	store, err := s.openStore()
	if err != nil {
		return err
	}
	stop := s.watchVault()
	before, err := cpu(s.vault.Pid())
	if err != nil {
		return err
	}
	begun, n := time.Now(), 0
	var first time.Duration
	err = store.List(ctx, func(string) error {
		if n++; n == 1 {
			first = time.Since(begun)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n != len(s.ids) {
		return fmt.Errorf("%d of %d secrets were listed", n, len(s.ids))
	}
	after, err := cpu(s.vault.Pid())
	if err != nil {
		return err
	}
	peak, err := stop()
	s.set("vault_list_seconds", time.Since(begun).Seconds())
	s.set("vault_list_first", first.Seconds())
	s.set("vault_list_cpu", (after - before).Seconds())
	s.set("vault_rss_peak", peak)
	s.set("vault_list_memory", peak-s.got.Figures["vault_rss"])
	return err
}

// watchVault looks for the most that Vault has of memory of its own until stop is
// called. The kernel's peak would count the pages of its file.
func (s *sized) watchVault() (stop func() (float64, error)) {
	end, ended := make(chan struct{}), make(chan struct{})
	var most float64
	var failure error
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			now, err := ownMemory(s.vault.Pid())
			most, failure = max(most, now), err
			select {
			case <-end:
				return
			case <-tick.C:
			}
		}
	}()
	return func() (float64, error) {
		close(end)
		<-ended
		return most, failure
	}
}

// walk reads all records, as the catch-up does.
func (s *sized) walk(ctx context.Context) error {
	records, err := connectionkv.New(connectionkv.Config{JS: s.js})
	if err != nil {
		return err
	}
	pid := s.broker.cmd.Process.Pid
	if err := resetPeak(pid); err != nil {
		return err
	}
	before, err := cpu(pid)
	if err != nil {
		return err
	}
	begun, n := time.Now(), 0
	var first time.Duration
	err = records.List(ctx, func(connection.Record) error {
		if n++; n == 1 {
			first = time.Since(begun)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n != len(s.ids) {
		return fmt.Errorf("%d of %d records came", n, len(s.ids))
	}
	after, err := cpu(pid)
	if err != nil {
		return err
	}
	_, peak, err := memory(pid)
	s.set("walk_seconds", time.Since(begun).Seconds())
	s.set("walk_first", first.Seconds())
	s.set("walk_nats_cpu", (after - before).Seconds())
	s.set("walk_nats_rss_peak", float64(peak))
	return err
}

// runConnector lets the real program find all this: it walks the records and
// sweeps the secrets, and there is nothing to be done about any of them.
func (s *sized) runConnector(ctx context.Context) (err error) {
	// Asked for now, or one of our own connections may have it meanwhile.
	if s.env["LISTEN_ADDR"], err = freeAddress(ctx); err != nil {
		return err
	}
	p, err := startChild(s.h.ours, []string{"serve"}, s.env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	begun := time.Now()
	if err := s.waitReady(ctx, p); err != nil {
		return err
	}
	s.set("connector_ready", time.Since(begun).Seconds())
	vaultBefore, err := cpu(s.vault.Pid())
	if err != nil {
		return err
	}
	err = untilEvery(ctx, seldom, p, "the sweep", func() (bool, error) {
		n, err := s.counted(ctx, `finx_connector_vaultstore_operations_total{operation="get",outcome="ok"}`)
		return n >= float64(len(s.ids)), err
	})
	if err != nil {
		return err
	}
	took := time.Since(begun)
	used, err := cpu(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	vaultAfter, err := cpu(s.vault.Pid())
	if err != nil {
		return err
	}
	now, peak, err := memory(p.cmd.Process.Pid)
	s.set("connector_sweep_seconds", took.Seconds())
	s.set("connector_sweep_cpu", used.Seconds())
	s.set("vault_sweep_cpu", (vaultAfter - vaultBefore).Seconds())
	s.set("connector_rss", float64(now))
	s.set("connector_rss_peak", float64(peak))
	return err
}

// counted is the value of a series of the connector's metrics, 0 when it has none.
func (s *sized) counted(ctx context.Context, series string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.env["LISTEN_ADDR"]+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	client := &http.Client{Timeout: 10 * time.Second}
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, nil
}
