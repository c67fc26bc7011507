package deploycheck

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "copy what the chart carries of deploy/, and name the settings in its schema")

// root is where the repository begins.
const root = "../.."

func inRoot(parts ...string) string { return filepath.Join(append([]string{root}, parts...)...) }

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sameAs compares the file at path with want, or writes it with -update.
func sameAs(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err == nil && bytes.Equal(got, want) {
		return
	}
	if !*update {
		t.Fatalf("%s is not up to date; run: go test -update", path)
	}
	if err := os.WriteFile(path, want, 0o644); err != nil {
		t.Fatal(err)
	}
}
