package crashpoint_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestTheShippedProgramHasNone builds the program both ways and looks for the
// variable that arms the points.
func TestTheShippedProgramHasNone(t *testing.T) {
	for _, c := range []struct {
		tags string
		want bool
	}{{"", false}, {"crashpoints", true}} {
		path := filepath.Join(t.TempDir(), "program")
		out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-tags", c.tags, "-o", path, "../../cmd/finx-connector").CombinedOutput()
		if err != nil {
			t.Fatalf("building with tags %q: %v\n%s", c.tags, err, out)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(raw, []byte("FINX_CRASHPOINTS")); got != c.want {
			t.Errorf("tags %q: the program knows crash points: %v, want %v", c.tags, got, c.want)
		}
	}
}
