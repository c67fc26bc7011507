package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/doctor"
	"github.com/finx-connector/finx-connector/settings"
)

// doctorFlags are those of the command.
type doctorFlags struct {
	out      format
	timeout  time.Duration
	redirect string
	monitor  string
	only     []string
}

func (p *program) doctorCommand() *cobra.Command {
	var f doctorFlags
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check every dependency and setting, with a verdict and a remedy a line",
		Long: `doctor looks at the settings, at NATS and what is on it, at Vault, at finX, at the clocks
and at what the replicas share, and says for each what it saw, whether that is ok, and
what to type if it is not. It asks all servers side by side, goes on with the rest when
one of them is away, and changes nothing: no event, no token call, no widget link.

Run it where serve runs, with the settings and the identity of serve: it says then
whether that identity has the rights it needs, and whether it has more. What only an
operator may see it marks "not visible"; run it once more with the operator's credentials.

Verdicts: ok; warn, it works and may hurt one day; fail; skip, it could not be looked at,
and why. Exit code: 0 when nothing failed, 1 when something did, 2 for wrong usage.`,
		Example: `  finx-connector doctor
  finx-connector doctor --only nats,streams --timeout 5s
  finx-connector doctor --redirect-uri https://app.example/callback --nats-monitor http://nats:8222
  finx-connector doctor -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			report, err := p.diagnose(c.Context(), f)
			if err != nil {
				return err
			}
			report = f.pick(report)
			if err := p.printReport(f.out, report); err != nil {
				return err
			}
			if n := report.Count(doctor.Fail); n > 0 {
				return fmt.Errorf("doctor: %s failed", counted(n, "check"))
			}
			return nil
		},
	}
	c.Flags().DurationVar(&f.timeout, "timeout", defaultTimeout, "how long each server may take for all its answers; they are asked side by side")
	c.Flags().StringVar(&f.redirect, "redirect-uri", "", "a redirect `URI` to try against REDIRECT_URI_ALLOW")
	c.Flags().StringVar(&f.monitor, "nats-monitor", "", "`URL` of the broker's monitoring port, which alone tells its sync_interval, like http://nats:8222")
	c.Flags().StringSliceVar(&f.only, "only", nil, "only these `groups`: "+strings.Join(doctor.Groups(), ", "))
	f.out.flag(c)
	return c
}

func (f doctorFlags) check() error {
	if f.timeout <= 0 {
		return usagef("--timeout must be above 0")
	}
	for _, g := range f.only {
		if !slices.Contains(doctor.Groups(), g) {
			return usagef("--only must be of %s", strings.Join(doctor.Groups(), ", "))
		}
	}
	return nil
}

func (f doctorFlags) wants(groups ...string) bool {
	return len(f.only) == 0 || slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(f.only, g) })
}

func (f doctorFlags) pick(r doctor.Report) doctor.Report {
	return slices.DeleteFunc(r, func(one doctor.Finding) bool { return !f.wants(one.Group) })
}

// diagnose makes the report. Settings that cannot be read are what it says then; a
// file of them that is not there is wrong usage.
func (p *program) diagnose(ctx context.Context, f doctorFlags) (doctor.Report, error) {
	s, err := settings.Load(p.configFile, p.getenv, p.environ, settings.Need{})
	if err != nil {
		if _, ok := errors.AsType[*fs.PathError](err); ok && p.configFile != "" {
			return nil, usageError{err}
		}
		return doctor.Unreadable(err), nil
	}
	_, missing := settings.Load(p.configFile, p.getenv, p.environ, settings.Need{FinX: true, Vault: true})
	e := &examination{settings: s, limit: f.timeout, monitor: f.monitor}
	defer e.close()
	checks := []doctor.Check{doctor.CheckRedirects(s, f.redirect)}
	if f.wants(doctor.GroupSettings) {
		checks = append(checks, doctor.CheckSettings(doctor.Settings{
			Settings: s, Missing: missing, Serving: serving,
			Traces: func(ctx context.Context) error { return app.CheckTraces(ctx, s, p.getenv) },
		}))
	}
	clock := f.wants(doctor.GroupClock)
	if clock || f.wants(doctor.GroupNATS, doctor.GroupStreams, doctor.GroupState) {
		checks = append(checks, doctor.CheckBroker(s, e.broker()))
	}
	if clock || f.wants(doctor.GroupVault) {
		checks = append(checks, doctor.CheckVault(s, e.vault))
	}
	if clock || f.wants(doctor.GroupFinX) {
		checks = append(checks, doctor.CheckFinX(s, e.finX))
	}
	return doctor.Run(ctx, f.timeout, doctor.Clocks(s, p.now), checks...), nil
}

func (p *program) printReport(out format, report doctor.Report) error {
	if out.json() {
		return writeJSON(p.stdout, struct {
			Findings doctor.Report `json:"findings"`
			OK       int           `json:"ok"`
			Warn     int           `json:"warn"`
			Fail     int           `json:"fail"`
			Skip     int           `json:"skip"`
		}{report, report.Count(doctor.OK), report.Count(doctor.Warn), report.Count(doctor.Fail), report.Count(doctor.Skip)})
	}
	for _, line := range doctorLines(report) {
		if _, err := fmt.Fprintln(p.stdout, line); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return nil
}

// doctorLines lays a report out: a heading a group, a line a finding, and beneath it
// the remedy.
func doctorLines(report doctor.Report) []string {
	width := 0
	for _, f := range report {
		width = max(width, len([]rune(printable(f.Check))))
	}
	var out []string
	group := ""
	for _, f := range report {
		if f.Group != group {
			if group != "" {
				out = append(out, "")
			}
			group = f.Group
			out = append(out, group)
		}
		out = append(out, fmt.Sprintf("  %-4s  %-*s  %s", f.Verdict, width, printable(f.Check), printable(f.Seen)))
		if f.Remedy != "" {
			out = append(out, fmt.Sprintf("  %4s  %-*s  → %s", "", width, "", printable(f.Remedy)))
		}
	}
	return append(out, "", report.Summary())
}

// serving finds out who listens on addr of this host.
func serving(ctx context.Context, addr string) (doctor.Serving, error) {
	free, err := listenOnce(ctx, addr)
	if free {
		return doctor.Serving{}, nil
	}
	if !isInUse(err) {
		return doctor.Serving{}, err
	}
	v := verdict{Addr: addr, Path: "/readyz"}
	out := doctor.Serving{Taken: true}
	if err := v.ask(ctx); err != nil {
		out.Why = err.Error()
	}
	out.Ours, out.Ready = len(v.Dependencies) > 0, v.OK
	return out, nil
}
