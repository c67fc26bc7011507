package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/settings"
)

// Settings are what the settings are checked from.
type Settings struct {
	settings.Settings
	// Missing is what serve would not start without, a line each.
	Missing error
	// Traces finds out what is wrong with what is set about traces; nil: it is not
	// looked at.
	Traces func(ctx context.Context) error
	// Serving finds out who listens on this host; nil: it is not looked at. An error
	// says that nobody can.
	Serving func(ctx context.Context, addr string) (Serving, error)
}

// Serving is who listens on LISTEN_ADDR. The zero value is nobody.
type Serving struct {
	Taken bool
	Ours  bool   // it answers as serve does
	Ready bool   // /readyz is 200
	Why   string // it is not, its first line
}

// CheckSettings looks at what the settings alone tell, and at the files and the port
// they name.
func CheckSettings(s Settings) Check {
	return Check{GroupSettings, func(ctx context.Context, sheet *Sheet) {
		set := 0
		for _, v := range s.Values() {
			if v.Source != "default" {
				set++
			}
		}
		sheet.ok(GroupSettings, "values", fmt.Sprintf("%d of %d are set, the others have their defaults", set, len(s.Values())))
		for line := range lines(s.Missing) {
			sheet.fail(GroupSettings, "needed by serve", strings.TrimPrefix(line, "settings: "), "set it; `finx-connector settings list` shows what is in force")
		}
		for _, w := range s.Warnings {
			sheet.warn(GroupSettings, "warning", w, "change the setting that is named; `finx-connector settings list` shows what is in force")
		}
		checkTimes(sheet, s.Settings)
		checkEscrowSettings(sheet, s.Settings)
		checkSecretFiles(sheet, s.SecretFiles())
		checkTraces(ctx, sheet, s)
		checkListen(ctx, sheet, s)
	}}
}

// Unreadable returns the report on settings that cannot be read: a line each, and that
// nothing else could be looked at.
func Unreadable(err error) Report {
	s := &Sheet{}
	for line := range lines(err) {
		s.fail(GroupSettings, "values", strings.TrimPrefix(line, "settings: "), "correct it; `finx-connector serve --help` and the README name every setting")
	}
	for _, g := range Groups()[1:] {
		s.skip(g, "all", "the settings cannot be read")
	}
	return s.findings
}

// lines yields the lines of an error, none for nil.
func lines(err error) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if err == nil {
			return
		}
		for line := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
			if !yield(line) {
				return
			}
		}
	}
}

// electionTime is how long a broker's leader election was seen to take.
const electionTime = 6 * time.Second

// checkTimes looks at durations that work against each other. What serve refuses to
// start with is not repeated.
func checkTimes(sheet *Sheet, s settings.Settings) {
	h, f := s.Handling, s.FinX
	found := false
	warn := func(yes bool, name, seen, remedy string) {
		if yes {
			found = true
			sheet.warn(GroupSettings, name, seen, remedy)
		}
	}
	warn(h.AckWait < 2*electionTime, "ACK_WAIT",
		fmt.Sprintf("%s: a leader election of the broker takes up to %s, and events in work would be delivered twice in one", h.AckWait, electionTime),
		"set ACK_WAIT to 30s, then `finx-connector streams apply`")
	warn(h.AckWait > 5*time.Minute, "ACK_WAIT",
		fmt.Sprintf("%s: for so long a process that died keeps its events from the others", h.AckWait),
		"set ACK_WAIT to 30s: long work prolongs it by itself")
	warn(2*f.Timeouts.Token >= f.CodeLifetime, "FINX_TIMEOUT_TOKEN",
		fmt.Sprintf("%s: a token call and its repetition may outlast FINX_CODE_LIFETIME (%s)", f.Timeouts.Token, f.CodeLifetime),
		"set FINX_TIMEOUT_TOKEN to less than half of FINX_CODE_LIFETIME")
	warn(f.TokenReplay == settings.ReplayAlways && h.CallbackTimeout < 2*f.Timeouts.Token, "CALLBACK_TIMEOUT",
		fmt.Sprintf("%s: a token call that gets no answer is made once more, and both take up to %s", h.CallbackTimeout, 2*f.Timeouts.Token),
		"set CALLBACK_TIMEOUT to twice FINX_TIMEOUT_TOKEN or more")
	warn(s.Process.DrainTimeout < f.Timeouts.Token, "DRAIN_TIMEOUT",
		fmt.Sprintf("%s: a token call may take %s, and a drain would cut it off", s.Process.DrainTimeout, f.Timeouts.Token),
		"set DRAIN_TIMEOUT to FINX_TIMEOUT_TOKEN or more, and the grace of the orchestrator above it")
	warn(h.PublishTimeout < 2*electionTime, "PUBLISH_TIMEOUT",
		fmt.Sprintf("%s: a leader election of the broker takes up to %s", h.PublishTimeout, electionTime), "set PUBLISH_TIMEOUT to 60s")
	warn(s.Streams.MaxAge > 0 && s.Streams.MaxAge <= h.OutageAfter, "STREAM_MAX_AGE",
		fmt.Sprintf("%s: events are dropped before OUTAGE_AFTER (%s) is over, for which they may wait", s.Streams.MaxAge, h.OutageAfter),
		"set STREAM_MAX_AGE to more than OUTAGE_AFTER, then `finx-connector streams apply`")
	warn(s.Fetch.Interval < time.Hour, "SYNC_INTERVAL",
		fmt.Sprintf("%s: finX refreshes its data up to four times a day", s.Fetch.Interval), "set SYNC_INTERVAL to 6h")
	if !found {
		sheet.ok(GroupSettings, "times", "time-outs, waits and lifetimes agree with each other")
	}
}

func checkEscrowSettings(sheet *Sheet, s settings.Settings) {
	v := s.Vault
	switch {
	case v.EscrowDir != "":
		checkEscrowDir(sheet, v.EscrowDir)
	case !v.EscrowKeys.IsZero() || v.TransitKey != "":
		sheet.ok(GroupSettings, "ESCROW_DIR", "none: what a process that is killed had in hand is in no file of this host")
	}
	switch {
	case !v.EscrowKeys.IsZero():
		sheet.ok(GroupSettings, "escrow", "ESCROW_KEY seals answers that Vault does not take")
	case v.TransitKey != "":
		sheet.ok(GroupSettings, "escrow", fmt.Sprintf("Vault's %s/%s seals answers that Vault's KV does not take; vault says below whether it does", v.TransitMount, v.TransitKey))
	}
}

// checkSecretFiles looks who may read the files that hold secrets.
func checkSecretFiles(sheet *Sheet, files []settings.SecretFile) {
	closed := 0
	for _, f := range files {
		info, err := os.Stat(f.Path)
		const othersRead = 0o004
		switch {
		case err != nil:
			sheet.fail(GroupSettings, f.Name, "its file cannot be looked at: "+plain(err), "make it readable to the user that serve runs as")
		case info.Mode().Perm()&othersRead != 0:
			sheet.warn(GroupSettings, f.Name, fmt.Sprintf("everybody on this host may read %s (mode %04o)", f.Path, info.Mode().Perm()),
				"chmod o-rwx "+f.Path+" (Kubernetes: defaultMode: 0440 and fsGroup)")
		default:
			closed++
		}
	}
	if closed > 0 {
		sheet.ok(GroupSettings, "secret files", fmt.Sprintf("%d, not open to everybody", closed))
	}
}

// plain leaves the path out: the finding names the setting.
func plain(err error) string {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

func checkTraces(ctx context.Context, sheet *Sheet, s Settings) {
	if s.Traces == nil {
		return
	}
	if err := s.Traces(ctx); err != nil {
		sheet.fail(GroupSettings, "traces", "serve does not start: "+err.Error(), "correct the variable that is named, or unset it: docs/tracing.md")
	}
}

func checkListen(ctx context.Context, sheet *Sheet, s Settings) {
	if s.Serving == nil {
		return
	}
	addr := s.Process.ListenAddr
	found, err := s.Serving(ctx, addr)
	switch {
	case err != nil:
		sheet.fail(GroupSettings, "LISTEN_ADDR", addr+" cannot be listened on: "+err.Error(), "set LISTEN_ADDR to a free port of this host")
	case !found.Taken:
		sheet.ok(GroupSettings, "LISTEN_ADDR", addr+" is free; nothing serves on this host")
	case !found.Ours:
		sheet.fail(GroupSettings, "LISTEN_ADDR", addr+" is taken by another program", "set LISTEN_ADDR to a free port of this host")
	case !found.Ready:
		sheet.warn(GroupSettings, "LISTEN_ADDR", addr+" serves and is not ready: "+found.Why, "mend what it names; the lines below say what this command sees of it")
	default:
		sheet.ok(GroupSettings, "LISTEN_ADDR", addr+" serves, and is ready")
	}
}
