// Command finx-connector is the product: it runs the pipeline (serve), makes and
// checks what it needs on the broker (streams), and is the operator's hand on
// connections and dead letters. See docs/cli.md.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		cancel()
		// For whoever cannot wait for a drain. What was being done is delivered again.
		fmt.Fprintf(os.Stderr, "finx-connector: ended at once by a second signal: %s\n", <-signals)
		os.Exit(exitFailed)
	}()
	os.Exit(run(ctx, os.Args[1:], system{
		getenv: os.Getenv, environ: os.Environ(),
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
	}))
}
