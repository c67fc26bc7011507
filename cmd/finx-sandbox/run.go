package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// stopTimeout bounds the wait for open answers; a slow drip may last for ever.
const stopTimeout = 3 * time.Second

// run is the whole program. It returns when ctx ends (exit 0), when it cannot
// listen (1), or when the arguments are wrong (2).
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	s, err := parse(args, getenv, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "finx-sandbox: %v\nfinx-sandbox --help lists the flags.\n", err)
		return exitUsage
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", s.listen)
	if err != nil {
		fmt.Fprintf(stderr, "finx-sandbox: listening: %v\n", err)
		return exitFailed
	}
	srv := &http.Server{Handler: finxtest.New(s.options), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	announce(stdout, "http://"+ln.Addr().String(), s.options)

	select {
	case err := <-served:
		fmt.Fprintf(stderr, "finx-sandbox: serving: %v\n", err)
		return exitFailed
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if srv.Shutdown(stopping) != nil {
		_ = srv.Close() // who is still being answered gets cut off
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintf(stderr, "finx-sandbox: serving: %v\n", err)
		return exitFailed
	}
	fmt.Fprintln(stdout, "finx-sandbox: stopped")
	return exitOK
}

// announce says where the sandbox is and how to try it. A secret that somebody
// chose is not printed.
func announce(w io.Writer, base string, o finxtest.Options) {
	login := `"$FINX_CLIENT_ID:$FINX_CLIENT_SECRET"`
	if o.ClientID == defaultClientID && o.ClientSecret == defaultClientSecret {
		login = defaultClientID + ":" + defaultClientSecret
	}
	fmt.Fprintf(w, `finx-sandbox: listening on %[1]s

Make a widget link, open its "location" in a browser (Mockbank: figo01 / 654321, OTP 123456):
  curl -s -u %[2]s -H 'Content-Type: application/json' %[1]s/ongoing/access \
    -d '{"redirect_uri":"http://localhost/callback","user_id":"me","state":"abc","language":"en"}'

Make the next refresh be lost after it took effect, then look at the counters:
  curl -s %[1]s/_sandbox/faults -d '{"call":"token.refresh","times":1,"drop":"after"}'
  curl -s %[1]s/_sandbox/stats

`, base, login)
}
