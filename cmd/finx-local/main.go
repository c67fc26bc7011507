// Finx-local runs everything on one machine: a real JetStream server, a secret
// store, the finX sandbox and the connector, in one terminal. It plays one
// connection through by itself, prints what happens, and stays up so that a
// person can do the same by hand.
//
// It is a launcher over the packages that the product is made of. What it adds
// is the part of upstream: a web page that asks for a bank connection and
// receives the callback.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code: 0 done, 1 something went wrong, 2 wrong usage.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	cfg, err := parse(args, getenv, stderr)
	if errors.Is(err, errHelp) {
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "finx-local:", err)
		return 2
	}
	if err := launch(ctx, cfg, newPrinter(stdout)); err != nil {
		_, _ = fmt.Fprintln(stderr, "finx-local:", err)
		return 1
	}
	return 0
}
