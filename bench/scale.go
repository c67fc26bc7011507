package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// scaleCommand makes this program measure what a connection costs the servers
// that hold it, at several sizes, and carry that to more. docs/operating.md says
// what came out.
//
//	make scale                                   1000, 10000 and 100000 connections: some twenty-five minutes
//	make scale SCALEFLAGS='-sizes 500,1000,2000 -rest 5s' to see that all works
//	make scale SCALEFLAGS=-update                writes the figures into docs/operating.md
const scaleCommand = "scale"

// scaleWithin bounds everything: what is not over by then hangs.
const scaleWithin = 3 * time.Hour

// scaleConfig is what the flags say.
type scaleConfig struct {
	sizes  []int
	real   int // connections that are made by the real route
	carry  int // connections that the lines are carried to
	rest   time.Duration
	update bool
	output string
}

func parseScale(args []string, stderr io.Writer) (scaleConfig, error) {
	var c scaleConfig
	var sizes string
	fs := flag.NewFlagSet(scaleCommand, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&sizes, "sizes", "1000,10000,100000", "comma list: connections, three sizes or more")
	fs.IntVar(&c.real, "real", 1000, "connections that are made by the real route, to compare")
	fs.IntVar(&c.carry, "carry", 10_000_000, "connections that the lines are carried to")
	fs.DurationVar(&c.rest, "rest", 130*time.Second, "how long the broker rests before its memory is read: its caches live for two minutes")
	fs.BoolVar(&c.update, "update", false, "write the figures into docs/operating.md")
	fs.StringVar(&c.output, "o", outputText, "text or json")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 100 || n > 2_000_000 {
			return c, fmt.Errorf("-sizes: 100 to 2000000, not %q", text)
		}
		c.sizes = append(c.sizes, n)
	}
	slices.Sort(c.sizes)
	switch {
	case len(fs.Args()) > 0:
		return c, fmt.Errorf("%q is not understood: there are only flags", fs.Arg(0))
	case len(slices.Compact(slices.Clone(c.sizes))) < 3:
		return c, errors.New("-sizes: a line needs three sizes to show whether it is one")
	case c.real < 16 || c.real > 20_000:
		return c, errors.New("-real: 16 to 20000")
	case c.output != outputText && c.output != outputJSON:
		return c, errors.New("-o: text or json")
	}
	return c, nil
}

// scaleMain measures and reports; it returns the exit code.
func scaleMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := parseScale(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "bench scale:", err)
		return 2
	}
	report, err := measureScale(ctx, cfg, stderr)
	if err == nil && cfg.update {
		err = operatingPage().write(report.text)
	}
	if err == nil && cfg.output == outputJSON {
		err = report.json(stdout)
	} else if err == nil {
		err = report.text(stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench scale:", err)
		return 1
	}
	return 0
}

// measureScale goes the real route first, because its records are the pattern of
// those that are written directly.
func measureScale(ctx context.Context, cfg scaleConfig, progress io.Writer) (scaleReport, error) {
	r := scaleReport{Config: cfg}
	ctx, cancel := context.WithTimeoutCause(ctx, scaleWithin, fmt.Errorf("not over within %s", scaleWithin))
	defer cancel()
	dir, err := os.MkdirTemp("", "finx-scale-")
	if err != nil {
		return r, fmt.Errorf("making a work directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	h := &harness{cfg: config{vault: vaultStub}, dir: dir, progress: progress}
	if err := h.build(ctx); err != nil {
		return r, err
	}
	r.Environment = scaleEnvironment(ctx)
	if r.Real, err = h.realRoute(ctx, cfg.real); err != nil {
		return r, fmt.Errorf("the real route: %w", err)
	}
	h.cfg.vault = vaultCore
	for _, n := range cfg.sizes {
		got, err := h.size(ctx, cfg, n, r.Real.pattern)
		if err != nil {
			return r, fmt.Errorf("%d connections: %w", n, err)
		}
		r.Sizes = append(r.Sizes, got)
	}
	r.Lines = fitAll(r.Sizes, cfg.carry)
	return r, r.compare()
}
