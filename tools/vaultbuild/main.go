// Command vaultbuild builds the Vault core that tests start as a process, once
// for each state of tools/vaultdev, and tells its progress. `make test` runs it
// first: otherwise the first test that needs a Vault spends its timeout on the
// build. Run it in the repository; it takes no arguments.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/finx-connector/finx-connector/internal/vaultdev"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := build(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func build(ctx context.Context) error {
	root, err := vaultdev.Root(".")
	if err != nil {
		return err
	}
	_, err = vaultdev.Binary(ctx, root, os.Stderr)
	return err
}
