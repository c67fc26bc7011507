package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/settings"
)

// maxHealthBytes bounds the answer that is read; /readyz writes a few hundred.
const maxHealthBytes = 64 << 10

// verdict is what a process says about itself.
type verdict struct {
	Addr         string             `json:"addr"`
	Path         string             `json:"path"`
	OK           bool               `json:"ok"`
	Dependencies []healthDependency `json:"dependencies,omitempty"`
}

// healthDependency is one of those that /readyz names.
type healthDependency struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	Why   string `json:"why,omitempty"`
}

func (p *program) healthCommand() *cobra.Command {
	var (
		ready   bool
		timeout time.Duration
		out     format
	)
	c := &cobra.Command{
		Use:   "health",
		Short: "Ask the process on this host whether it works, or whether it can take work",
		Long: `health asks /healthz on LISTEN_ADDR, or with --ready /readyz, and exits with 0 when the
answer is yes and with 1 when it is no or there is none: the health check of an image
without a shell. It reads LISTEN_ADDR and no other setting.

A process that is not ready waits for a server and goes on by itself. Restart it on
health, never on health --ready.`,
		Example: `  finx-connector health
  finx-connector health --ready
  finx-connector health --ready -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usagef("--timeout must be above 0")
			}
			addr, err := settings.ListenAddr(p.configFile, p.getenv)
			if err != nil {
				return usageError{err}
			}
			v := verdict{Addr: addr, Path: "/healthz"}
			if ready {
				v.Path = "/readyz"
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			err = v.ask(ctx)
			return errors.Join(v.print(p.stdout, out), err)
		},
	}
	c.Flags().BoolVar(&ready, "ready", false, "ask whether it can take work, and which dependency is in the way")
	// Longer than the process itself gives a dependency before it calls it away.
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long the answer may take")
	out.flag(c)
	return c
}

// ask fills v from the process at v.Addr. An error says why the answer is not yes.
func (v *verdict) ask(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+v.Path, http.NoBody)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	// A proxy of the environment is not on the way to oneself.
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialSelf(ctx, v.Addr)
	}}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("health: asking LISTEN_ADDR %s: %w", v.Addr, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHealthBytes))
	if err != nil {
		return fmt.Errorf("health: reading the answer of %s: %w", v.Addr, err)
	}
	var state struct {
		Dependencies []healthDependency `json:"dependencies"`
	}
	if json.Unmarshal(body, &state) == nil { // /healthz writes no JSON, and neither does somebody else on that port
		v.Dependencies = state.Dependencies
	}
	if resp.StatusCode == http.StatusOK {
		v.OK = true
		return nil
	}
	return v.refusal(resp.StatusCode)
}

// refusal names the dependencies that are in the way.
func (v *verdict) refusal(status int) error {
	var why []string
	for _, d := range v.Dependencies {
		if !d.Ready {
			why = append(why, d.Name+": "+printable(d.Why))
		}
	}
	if len(why) == 0 {
		return fmt.Errorf("health: %s on %s answers %d %s", v.Path, v.Addr, status, http.StatusText(status))
	}
	return fmt.Errorf("health: not ready: %s", strings.Join(why, "; "))
}

func (v *verdict) print(w io.Writer, out format) error {
	switch {
	case out.json():
		return writeJSON(w, v)
	case len(v.Dependencies) > 0:
		t := newTable(w, "DEPENDENCY", "READY", "WHY")
		for _, d := range v.Dependencies {
			ready := "no"
			if d.Ready {
				ready = "yes"
			}
			t.row(d.Name, ready, d.Why)
		}
		return t.flush()
	case v.OK:
		_, err := fmt.Fprintln(w, "ok")
		return err
	}
	return nil
}

// dialSelf connects to who listens on addr on this host. An address that means
// all interfaces is asked on loopback, of both families, as a host may have
// only one.
func dialSelf(ctx context.Context, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if port == "0" {
		return nil, errors.New("port 0 is a different one at every start; name one")
	}
	hosts := []string{host}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		hosts = []string{"127.0.0.1", "::1"}
	}
	var (
		dialer net.Dialer
		failed []error
	)
	for _, h := range hosts {
		conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(h, port))
		if err == nil {
			return conn, nil
		}
		failed = append(failed, err)
	}
	return nil, failed[0]
}
