// Command finx-sandbox serves the finX API as a simulator on a port: the widget
// page for the browser, the token endpoint, accounts and transactions, and
// faults on demand. See package finx/finxtest for what it is faithful to.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
