package main

import (
	"runtime/debug"
	"testing"

	"github.com/finx-connector/finx-connector/settings"
)

// The collector is paced in a process of many handlers, and never against the
// operator's own word.
func TestPaceCollector(t *testing.T) {
	const usual = 123
	for name, c := range map[string]struct {
		handlers int
		env      string
		want     int
	}{
		"as many as by default": {16, "", usual},
		"many":                  {2000, "", manyPercent},
		"many, and GOGC":        {2000, "GOGC", usual},
		"many, and GOMEMLIMIT":  {2000, "GOMEMLIMIT", usual},
	} {
		t.Run(name, func(t *testing.T) {
			before := debug.SetGCPercent(usual)
			defer debug.SetGCPercent(before)
			p := &program{system: system{getenv: func(key string) string {
				if key == c.env {
					return "set"
				}
				return ""
			}}}
			p.paceCollector(settings.Concurrency{Callbacks: 32, Syncs: c.handlers})
			if got := debug.SetGCPercent(usual); got != c.want {
				t.Errorf("percent %d, want %d", got, c.want)
			}
		})
	}
}
