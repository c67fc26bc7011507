// Command vaultdev is the real Vault core (1.13.2, the last release under
// MPL-2.0 that builds from published modules), trimmed to what tests and the
// local demo need: KV v2, Transit, AppRole, Kubernetes auth, token auth,
// response wrapping, quotas and the file audit device.
//
// DEV ONLY. It initialises and unseals itself, keeps the unseal key and the
// root token in a file beside the data, speaks plain HTTP, and the release has
// known vulnerabilities. It listens on loopback, is never shipped in an image,
// and must hold no token of a real person.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
)

type options struct {
	listen    string
	storage   string
	path      string
	rootToken string
	stdin     bool
	verbose   bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vaultdev:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends or, with -stdin, until stdin closes. It prints one
// line to stdout when the server takes requests.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	opts, err := parseFlags(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", opts.listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	opts.listen = listener.Addr().String() // with port 0 only now known
	srv, err := newServer(opts, listener, stderr)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer srv.shutdown()

	keys, err := bootstrap(ctx, "http://"+opts.listen, opts)
	if err != nil {
		return fmt.Errorf("bringing up: %w", err)
	}
	fmt.Fprintf(stdout, "Vault %s (%s) ready: VAULT_ADDR=http://%s VAULT_TOKEN=%s UNSEAL_KEY=%s\n",
		keys.version, opts.storage, opts.listen, opts.rootToken, keys.UnsealKey)
	if opts.stdin {
		ctx = untilClosed(ctx, stdin)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-srv.failed:
		return fmt.Errorf("serving: %w", err)
	}
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("vaultdev", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.listen, "listen", "127.0.0.1:8200", "loopback `address`; port 0 takes a free one")
	fs.StringVar(&o.storage, "storage", "inmem", "inmem, file or raft")
	fs.StringVar(&o.path, "path", "", "`directory` of the data and, DEV ONLY, of the unseal key (file and raft)")
	fs.StringVar(&o.rootToken, "root-token", "root", "`token` with every right")
	fs.BoolVar(&o.stdin, "stdin", false, "exit when standard input closes, so that a dead parent leaves no server")
	fs.BoolVar(&o.verbose, "verbose", false, "write Vault's own log to standard error")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return o, fmt.Errorf("-listen: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return o, fmt.Errorf("-listen: %s is not a loopback address; this server is for one machine", host)
	}
	switch o.storage {
	case "inmem":
		return o, nil
	case "file", "raft":
		if o.path == "" {
			return o, fmt.Errorf("-storage %s needs -path", o.storage)
		}
		return o, os.MkdirAll(o.path, 0o700)
	}
	return o, fmt.Errorf("-storage: %q is none of inmem, file, raft", o.storage)
}

// untilClosed returns a context that ends with ctx or when r reports its end.
func untilClosed(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, r)
	}()
	return ctx
}
