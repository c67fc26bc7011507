package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/finx-connector/finx-connector/internal/vaulttest"
)

// vault is the real core that all tests share; each has a mount of its own.
var vault vaulttest.Shared

// programs are built once, when the first test asks for one: as they are
// shipped, and the connector once more with crash points in it.
var (
	programs = binaries{names: []string{"finx-connector", "finx-sandbox", "finx-local"}}
	armed    = binaries{names: []string{"finx-connector"}, tags: "crashpoints"}
)

func TestMain(m *testing.M) {
	code := vault.Run(m)
	programs.remove()
	armed.remove()
	os.Exit(code)
}

// binaries are programs of ours, built for one run of the tests.
type binaries struct {
	names []string
	tags  string
	once  sync.Once
	dir   string
	err   error
}

// path returns where the program of that name is.
func (b *binaries) path(t testing.TB, name string) string {
	t.Helper()
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "finx-e2e-"); b.err != nil { //nolint:usetesting // outlives the test that asks first
			return
		}
		args := []string{"build", "-buildvcs=false", "-tags", b.tags, "-o", b.dir + string(filepath.Separator)}
		for _, name := range b.names {
			args = append(args, "../cmd/"+name)
		}
		cmd := exec.Command("go", args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.err = fmt.Errorf("building the programs: %w\n%s", err, out)
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return filepath.Join(b.dir, name)
}

func (b *binaries) remove() {
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// long skips a test that needs minutes, unless they were asked for.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("FINX_TEST_LONG") == "" {
		t.Skip("takes minutes; FINX_TEST_LONG=1 runs it")
	}
}
