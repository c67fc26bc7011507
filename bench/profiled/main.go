// Profiled is the connector with a profiler in it: `finx-connector serve` that
// writes a CPU profile of the time between SIGUSR1 and SIGUSR2 to the file named
// by CPU_PROFILE. Only bench starts it; the shipped program listens to neither.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/settings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Getenv("CPU_PROFILE"))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "profiled:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, file string) error {
	s, err := settings.Load("", os.Getenv, nil, settings.Need{FinX: true, Vault: true})
	if err != nil {
		return err
	}
	profiles := make(chan os.Signal, 2)
	signal.Notify(profiles, syscall.SIGUSR1, syscall.SIGUSR2)
	failed := make(chan error, 1)
	go func() { failed <- record(ctx, profiles, file) }()
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: s.Process.LogLevel}))
	if err := app.Run(ctx, app.Options{Settings: s, Version: "profiled", Logger: log}); err != nil {
		return err
	}
	return <-failed
}

// record writes a profile from each SIGUSR1 to the SIGUSR2 behind it, the last
// one over those before, until ctx ends.
func record(ctx context.Context, signals <-chan os.Signal, file string) error {
	var out *os.File
	end := func() error {
		if out == nil {
			return nil
		}
		pprof.StopCPUProfile()
		err := out.Close()
		out = nil
		return err
	}
	for {
		select {
		case s := <-signals:
			if err := end(); err != nil {
				return err
			}
			if s == syscall.SIGUSR2 {
				continue
			}
			var err error
			if out, err = os.Create(file); err != nil { //nolint:gosec // named by who starts this
				return err
			}
			if err := pprof.StartCPUProfile(out); err != nil {
				return err
			}
		case <-ctx.Done():
			return end()
		}
	}
}
