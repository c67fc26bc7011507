package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// fact is a line about where and with what was measured.
type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// environment says what a reader has to know to compare figures.
func environment(ctx context.Context, c config) []fact {
	vault := "KV v2 stub in memory"
	if c.vault == vaultCore {
		vault = "Vault core, raft storage, a process of its own"
	}
	broker := "nats-server " + dependency("github.com/nats-io/nats-server/v2") + ", a process of its own, file storage"
	if c.syncAlways {
		broker += ", every write synced"
	}
	return []fact{
		{"date", time.Now().UTC().Format(time.DateOnly)},
		{"commit", commit(ctx)},
		{"machine", fmt.Sprintf("%d cores, %s, %s/%s", runtime.NumCPU(), model(), runtime.GOOS, runtime.GOARCH)},
		{"load before", load()},
		{"Go", runtime.Version()},
		{"broker", broker},
		{"Vault", vault},
		{"finX", "finx/finxtest over HTTP, loopback, no TLS"},
		{"rounds", fmt.Sprintf("%d, and one to warm up; medians, in parentheses the least and the most", c.rounds)},
	}
}

func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// model is the name of the processor, as Linux gives it.
func model() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// load is how busy the machine was with other things.
func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	fields := strings.Fields(string(raw))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

func dependency(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, d := range info.Deps {
		if d.Path == path {
			return d.Version
		}
	}
	return ""
}
