// Command finx-connector is the product: it runs the pipeline (serve), makes and
// checks what it needs on the broker (streams), and is the operator's hand on
// connections and dead letters. See docs/cli.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	// From the first signal on the next one has its usual effect: it ends the
	// process at once, for whoever cannot wait for a drain.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], system{
		getenv: os.Getenv, environ: os.Environ(),
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
	})
	stop()
	os.Exit(code)
}
