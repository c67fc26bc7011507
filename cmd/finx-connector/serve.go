package main

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/settings"
)

func (p *program) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the pipeline until SIGTERM or SIGINT, then drain",
		Long: `serve runs the pipeline. At SIGTERM or SIGINT it takes no more work and gives what runs
DRAIN_TIMEOUT to end; a second signal ends it at once (exit code 1), and what it was
doing is delivered again. A broker or Vault that is away is waited for: /readyz on LISTEN_ADDR
says which, and why.

Log lines go to standard error in the format of LOG_FORMAT; standard output stays empty.`,
		Example: `  FINX_CLIENT_SECRET_FILE=/run/secrets/finx finx-connector serve --config /etc/finx-connector.yaml
  curl -s localhost:8080/readyz`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := p.loadSettings(settings.Need{FinX: true, Vault: true})
			if err != nil {
				return err
			}
			p.paceCollector(s.Concurrency)
			ctx, log := c.Context(), newLogger(p.stderr, s.Process)
			return app.Run(ctx, app.Options{
				Settings: s, Version: buildVersion().Version, Logger: log,
				OnReady: func(addr string) { log.InfoContext(ctx, "listening", "addr", addr) },
			})
		},
	}
}

// newLogger writes what LOG_LEVEL lets through, as LOG_FORMAT says.
func newLogger(w io.Writer, s settings.Process) *slog.Logger {
	o := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// loadSettings reads the settings. Bad ones are wrong usage, a line each.
func (p *program) loadSettings(need settings.Need) (settings.Settings, error) {
	s, err := settings.Load(p.configFile, p.getenv, p.environ, need)
	if err != nil {
		return s, usageError{err}
	}
	return s, nil
}
