package settings

import (
	"errors"
	"fmt"
	"os"
)

// ListenAddr returns LISTEN_ADDR alone, of the same file and environment that
// Load reads. What is wrong with any other setting is not looked at: a health
// check has to tell how the process is, also while a file of secrets that the
// process has long read is being replaced.
func ListenAddr(path string, getenv func(string) string) (string, error) {
	var l loader
	if path != "" {
		data, err := os.ReadFile(path) //nolint:gosec // the operator's own file
		if err != nil {
			return "", fmt.Errorf("settings: opening the file: %w", err)
		}
		if err := l.readFile(path, data); err != nil {
			return "", err
		}
		l.problems = nil
	}
	var s Settings
	for _, row := range processTable() {
		if row.Env != "LISTEN_ADDR" {
			continue
		}
		g := l.find(row, getenv)
		if g.value == "" {
			g.value = row.Default
		}
		if err := row.set(&s, g.value); err != nil {
			l.refuse(row, row.Env, g.source, "not allowed; allowed is: "+err.Error())
		}
	}
	return s.Process.ListenAddr, errors.Join(l.problems...)
}
