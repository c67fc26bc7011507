package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// system is the world outside the process, so that a test can be it.
type system struct {
	getenv         func(string) string
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time // this machine's clock; nil: time.Now
}

// program is one run of one command.
type program struct {
	system
	configFile string
	// started is set when a command begins its work: what goes wrong before that
	// is the command line.
	started bool
}

// usageError is wrong usage that only a command's own code could see.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run is the whole program: arguments in, exit code out. Errors go to stderr,
// each line with the program's name; only wrong usage is followed by a hint.
func run(ctx context.Context, args []string, sys system) int {
	p := &program{system: sys}
	root := p.root() //nolint:contextcheck // the commands get it from cobra, which is given it below
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = fmt.Errorf("interrupted: %w", err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
		fmt.Fprintf(sys.stderr, "finx-connector: %s\n", printable(line)) // it may quote a key or a header that anybody wrote
	}
	if _, wrong := errors.AsType[usageError](err); wrong || !p.started {
		fmt.Fprintf(sys.stderr, "%q says how it is used.\n", cmd.CommandPath()+" --help")
		return exitUsage
	}
	return exitFailed
}

// root builds the tree of commands.
func (p *program) root() *cobra.Command {
	root := group(&cobra.Command{
		Use:   "finx-connector",
		Short: "Connects users' bank accounts through finX and publishes their transactions as events",
		Long: `finx-connector takes connect requests and callbacks from NATS, speaks to finX, keeps
tokens in Vault and publishes accounts and transactions as events.

Settings come from --config and from the environment, which wins; "finx-connector
settings list" shows them all. Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  finx-connector streams apply     make streams, consumers and buckets
  finx-connector serve             run the pipeline
  finx-connector emit connect --user-id me --redirect-uri https://app.example/callback`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}, p.serveCommand(), p.streamsCommand(), p.emitCommand(), p.connectionsCommand(), p.dlqCommand(), p.replayCommand(), p.doctorCommand(), p.healthCommand(), p.settingsCommand(), p.versionCommand())
	root.PersistentFlags().StringVar(&p.configFile, "config", "", "YAML `file` with settings; the environment wins over it")
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	p.noteStarts(root)
	return root
}

// noteStarts has every command of the tree say when its work begins.
func (p *program) noteStarts(c *cobra.Command) {
	if work := c.RunE; work != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			p.started = true
			return work(c, args)
		}
	}
	for _, below := range c.Commands() {
		p.noteStarts(below)
	}
}

// group makes c a command that only has commands below it. Naming none of them,
// or one that is not there, is wrong usage; cobra alone would show help and
// call that a success.
func group(c *cobra.Command, below ...*cobra.Command) *cobra.Command {
	c.AddCommand(below...)
	c.Args = cobra.ArbitraryArgs
	c.SuggestionsMinimumDistance = 2
	c.RunE = func(c *cobra.Command, args []string) error {
		names := make([]string, len(below))
		for i, b := range below {
			names[i] = b.Name()
		}
		if len(args) == 0 {
			return usagef("a command is missing: %s", strings.Join(names, ", "))
		}
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			return usagef("unknown command %q for %q; did you mean %s?", args[0], c.CommandPath(), near[0])
		}
		return usagef("unknown command %q for %q; there are: %s", args[0], c.CommandPath(), strings.Join(names, ", "))
	}
	return c
}
