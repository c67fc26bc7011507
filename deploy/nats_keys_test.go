package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestKeysAreMadeOnce runs keys.sh with the real nk, twice.
func TestKeysAreMadeOnce(t *testing.T) {
	nk, dir := filepath.Join(t.TempDir(), "nk"), filepath.Join(t.TempDir(), "keys")
	if out, err := exec.Command("go", "build", "-o", nk, "github.com/nats-io/nkeys/nk").CombinedOutput(); err != nil {
		t.Fatalf("building nk: %v\n%s", err, out)
	}
	run := func() string {
		cmd := exec.Command("sh", "nats/keys.sh", dir)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "NK=" + nk}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	first := run()
	if again := run(); again != first {
		t.Errorf("the second run says\n%s, the first\n%s", again, first)
	}
	for _, role := range natstest.AllRoles() {
		file := filepath.Join(dir, role+".nk")
		seed, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := nkeys.ParseDecoratedNKey(seed)
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil || !strings.HasPrefix(public, "U") || !strings.Contains(first, "NATS_NKEY_"+strings.ToUpper(role)+"="+public+"\n") {
			t.Errorf("%s: %s, %v\n%s", role, public, err, first)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", role, info.Mode(), err)
		}
	}
}
