package deploycheck

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// jail makes a file system with nothing in it but the program, as the image's is.
func jail(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make a file system of its own")
	}
	dir := t.TempDir()
	data := read(t, program(t, "finx-connector"))
	if err := os.WriteFile(filepath.Join(dir, "finx-connector"), data, 0o555); err != nil {
		t.Fatal(err)
	}
	if out, err := jailed(t.Context(), dir, nil, "version").CombinedOutput(); err != nil && strings.Contains(string(out), "jail: ") {
		t.Skipf("this machine lets nobody mount: %s", out)
	}
	return dir
}

// jailed runs the program with dir as its read-only root, as the image's user and
// with no other right.
func jailed(ctx context.Context, dir string, env []string, args ...string) *exec.Cmd {
	const script = `
mount --make-rprivate / && mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || { echo "jail: cannot mount" >&2; exit 99; }
if touch "$0/x" 2>/dev/null; then echo "the root can be written to" >&2; exit 98; fi
exec setpriv --no-new-privs chroot --userspec=65532:65532 --groups= "$0" /finx-connector "$@"`
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "sh", "-c", script, dir}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	// A shell that is killed would leave the program behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func TestRunsInAnEmptyReadOnlyRoot(t *testing.T) {
	dir := jail(t)
	out, err := jailed(t.Context(), dir, nil, "version", "-o", "json").CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"version": "7.8.9"`) {
		t.Errorf("version: %v: %s", err, out)
	}
	addr := freeAddr(t)
	env := []string{
		"LISTEN_ADDR=" + addr, "NATS_URL=nats://127.0.0.1:1", "VAULT_ADDR=http://127.0.0.1:1", "VAULT_TOKEN=t",
		"FINX_BASE_URL=http://127.0.0.1:1", "FINX_CLIENT_ID=c", "FINX_CLIENT_SECRET=s",
	}
	if out, err := jailed(t.Context(), dir, env, "health").CombinedOutput(); err == nil || !strings.Contains(string(out), "refused") {
		t.Errorf("health without a process: %v: %s", err, out)
	}
	var log buffer
	serve := jailed(t.Context(), dir, env, "serve")
	serve.Stderr = &log
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	healthy := func() bool { return jailed(t.Context(), dir, env, "health").Run() == nil }
	for deadline := time.Now().Add(30 * time.Second); !healthy(); {
		if time.Now().After(deadline) {
			t.Fatalf("serve does not become healthy: %s", log.String())
		}
	}
	if uid := owner(t, serve.Process.Pid); uid != "65532" {
		t.Errorf("serve runs as %s", uid)
	}
	out, err = jailed(t.Context(), dir, env, "health", "--ready").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "not ready: ") || !strings.Contains(string(out), "nats: ") {
		t.Errorf("health --ready without a broker: %v: %s", err, out)
	}
	if err := serve.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := serve.Wait(); err != nil || !strings.Contains(log.String(), `"msg":"drained"`) {
		t.Errorf("SIGTERM: %v: %s", err, log.String())
	}
}

// owner returns the user of a process: unshare, sh, setpriv and chroot each become
// the next, so it is the program by now.
func owner(t *testing.T, pid int) string {
	t.Helper()
	for line := range strings.Lines(string(read(t, fmt.Sprintf("/proc/%d/status", pid)))) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			return strings.Fields(ids)[1]
		}
	}
	return ""
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // nothing was written
	return ln.Addr().String()
}

// buffer is a writer that a running program and the test may use at once.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
