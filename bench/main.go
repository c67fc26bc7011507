// Bench measures the connector beside a floor: a program of two pages
// (bench/floor) that makes the same calls of finX, Vault and NATS and does
// nothing else. Both run as processes of their own, one after the other, in
// alternating order, against the same servers, and only the process under
// measurement is charged for CPU and memory. A run whose output is not exactly
// right fails and gets no figure. docs/benchmarks.md says how to read the rest.
//
//	make bench                          callbacks and streaming, five rounds
//	make bench BENCHFLAGS=-quick        two short rounds, to see that all works
//	make bench BENCHFLAGS=-update       writes the figures into docs/benchmarks.md
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code: 0 done, 1 something went wrong or an output was
// not right, 2 wrong usage.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == brokerCommand {
		return brokerMain(args[1:], stdin, stdout, stderr)
	}
	if len(args) > 0 && args[0] == scaleCommand {
		return scaleMain(ctx, args[1:], stdout, stderr)
	}
	cfg, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	if err := measureAll(ctx, cfg, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// measureAll builds the programs, measures every scenario and reports.
func measureAll(ctx context.Context, cfg config, stdout, stderr io.Writer) error {
	dir, err := os.MkdirTemp("", "finx-bench-")
	if err != nil {
		return fmt.Errorf("making a work directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	h := &harness{cfg: cfg, dir: dir, progress: stderr}
	if err := h.build(ctx); err != nil {
		return err
	}
	report := report{Environment: environment(ctx, cfg), sides: cfg.sides}
	for _, s := range cfg.scenarios() {
		result, err := h.scenario(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		report.Scenarios = append(report.Scenarios, result)
	}
	if cfg.wire {
		if report.Wire, err = h.wire(ctx); err != nil {
			return fmt.Errorf("counting calls: %w", err)
		}
	}
	if cfg.update {
		if err := benchmarksPage().write(report.text); err != nil {
			return err
		}
	}
	if cfg.output == outputJSON {
		return report.json(stdout)
	}
	return report.text(stdout)
}
