package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// config says what is started and where.
type config struct {
	once    bool
	state   string // directory of everything that is kept
	nats    string // address for the embedded server
	natsURL string // a broker that runs already; none is started then
	sandbox string // address of the sandbox
	page    string // address of the page that plays upstream
	listen  string // address of the connector's health and metrics

	vaultAddr string // a Vault that runs already
	vaultCore bool   // build and start the real Vault core

	accounts     int
	transactions int
	patience     time.Duration
	verbose      bool

	// getenv is the environment, for the settings of the connector.
	getenv func(string) string
}

var errHelp = errors.New("help asked for")

const usage = `finx-local runs a JetStream server, a secret store, the finX sandbox and the
connector on this machine, and plays one bank connection through.

  finx-local            play the story, then stay up until Ctrl-C
  finx-local --once     end after the story: exit 0 when it went well, else 1

Environment: ONCE=1, VAULT=1 (build and start the real Vault core),
VAULT_ADDR and VAULT_TOKEN (use a Vault that runs), NATS_URL (use a broker that
runs). Without a Vault the secrets are held in memory and are gone at the end.

`

// parse reads flags and environment; a flag wins.
func parse(args []string, getenv func(string) string, stderr io.Writer) (config, error) {
	c := config{natsURL: getenv("NATS_URL"), vaultAddr: getenv("VAULT_ADDR"), getenv: getenv}
	fs := flag.NewFlagSet("finx-local", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		_, _ = fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
	}
	fs.BoolVar(&c.once, "once", isSet(getenv("ONCE")), "end after the story")
	fs.BoolVar(&c.vaultCore, "vault", isSet(getenv("VAULT")), "build and start the real Vault core")
	fs.StringVar(&c.state, "state", ".local", "directory for what is kept")
	fs.StringVar(&c.nats, "nats", "127.0.0.1:4222", "address of the embedded JetStream server")
	fs.StringVar(&c.sandbox, "sandbox", "127.0.0.1:8090", "address of the finX sandbox")
	fs.StringVar(&c.page, "page", "127.0.0.1:8091", "address of the page that plays upstream")
	fs.StringVar(&c.listen, "listen", "127.0.0.1:8080", "address of the connector's /healthz, /readyz and /metrics; like the three above, another port is taken when it is in use")
	fs.IntVar(&c.accounts, "accounts", 3, "bank accounts of the story's user")
	fs.IntVar(&c.transactions, "transactions", 2400, "transactions in all of them")
	fs.DurationVar(&c.patience, "patience", 2*time.Minute, "how long the story may take")
	fs.BoolVar(&c.verbose, "verbose", false, "print the connector's own log")
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return c, errHelp
	}
	if err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("%q is not understood: there are only flags", fs.Arg(0))
	}
	if c.accounts < 1 || c.transactions < 0 {
		return c, errors.New("--accounts must be at least 1, --transactions at least 0")
	}
	return c, nil
}

// isSet reads a switch from the environment: make passes ONCE=1, and people
// write ONCE=0 to turn it off.
func isSet(v string) bool {
	switch strings.ToLower(v) {
	case "", "0", "no", "false", "off":
		return false
	}
	return true
}
