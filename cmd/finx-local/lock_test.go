//go:build unix

package main

import (
	"strings"
	"testing"
)

func TestOneStateDirectoryIsForOneProgram(t *testing.T) {
	state := t.TempDir()
	unlock, err := lockState(state)
	if err != nil {
		t.Fatal(err)
	}
	var out, complaints terminal
	if code := run(t.Context(), anywhere(state, "--once"), noEnvironment, &out, &complaints); code != 1 || !strings.Contains(complaints.String(), "--state") {
		t.Errorf("exit code %d: %s", code, complaints.String())
	}
	unlock()
	if code := run(t.Context(), anywhere(state, "--once"), noEnvironment, &out, &complaints); code != 0 {
		t.Errorf("exit code %d after the first has ended: %s", code, complaints.String())
	}
}
