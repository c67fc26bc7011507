package natstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Process is the real nats-server binary as a process of its own, with
// sync_interval always, for tests that kill it. Its methods must be called from
// the test's goroutine.
type Process struct {
	t        testing.TB
	bin, dir string
	port     int
	extra    string // further lines of the configuration
	monitor  string // where the server's monitoring answers, since it listens
	cmd      *exec.Cmd
	exited   chan struct{}
}

// ExternalProcess builds the server of the version in go.mod (once; the binary
// is kept in the user's cache directory) and starts it on a free port.
func ExternalProcess(t testing.TB) *Process {
	t.Helper()
	p := &Process{t: t, bin: binary(t), dir: t.TempDir(), port: server.RANDOM_PORT}
	p.Start()
	t.Cleanup(p.Kill)
	return p
}

// URL is where clients connect; it stays the same over Kill and Start.
func (p *Process) URL() string { return "nats://127.0.0.1:" + strconv.Itoa(p.port) }

// Start starts a killed server on the same port and store and waits until it
// listens.
func (p *Process) Start() {
	p.t.Helper()
	p.launch()
	p.waitPort()
}

// launch starts the server and waits for nothing.
func (p *Process) launch() {
	p.t.Helper()
	conf := filepath.Join(p.dir, "server.conf")
	text := fmt.Sprintf("listen: \"127.0.0.1:%d\"\nhttp: \"127.0.0.1:-1\"\nports_file_dir: %q\njetstream { store_dir: %q, sync_interval: always, max_file_store: %d }\n%s",
		p.port, p.dir, filepath.Join(p.dir, "store"), maxStore, p.extra)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		p.t.Fatalf("natstest: writing the configuration: %v", err)
	}
	p.cmd = exec.Command(p.bin, "-c", conf)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a killed test leaves no server behind
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("natstest: starting the server: %v", err)
	}
	p.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(p.cmd, p.exited)
}

// waitPort waits until the server listens.
func (p *Process) waitPort() {
	p.t.Helper()
	Eventually(p.t, readyWithin, p.listens, "external server listens")
}

// listens reads the file in which the server names the ports it listens on, and
// reports whether it is there.
func (p *Process) listens() bool {
	var ports struct {
		NATS       []string `json:"nats"`
		Monitoring []string `json:"monitoring"`
	}
	raw, err := os.ReadFile(filepath.Join(p.dir, fmt.Sprintf("%s_%d.ports", filepath.Base(p.bin), p.cmd.Process.Pid)))
	if err != nil || json.Unmarshal(raw, &ports) != nil || len(ports.NATS) == 0 || len(ports.Monitoring) == 0 {
		return false
	}
	p.monitor = ports.Monitoring[0]
	_, port, _ := strings.Cut(strings.TrimPrefix(ports.NATS[0], "nats://"), ":")
	p.port, err = strconv.Atoi(port)
	return err == nil
}

// Kill ends the server with SIGKILL, as a crash would, and waits for it.
// Killing a dead server does nothing.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Pause stops the process where it is (SIGSTOP): connections stay open and
// nothing answers.
func (p *Process) Pause() { p.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (p *Process) Resume() { p.signal(syscall.SIGCONT) }

func (p *Process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("natstest: signalling the server: %v", err)
	}
}

// binary returns the path of the server binary, building it when the cache has
// none of this version. A file lock keeps test processes from building it twice.
func binary(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("natstest: finding the cache directory: %v", err)
	}
	dir := filepath.Join(cache, "finx-connector", "bin")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatalf("natstest: making the cache directory: %v", err)
	}
	bin := filepath.Join(dir, "nats-server-"+server.VERSION)
	unlock := lock(t, bin+".lock")
	defer unlock()
	if _, err := os.Stat(bin); err == nil {
		return bin
	} else if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("natstest: looking for the server binary: %v", err)
	}
	part := bin + ".part" // renamed when complete, so that an interrupted build is never run
	ctx, cancel := buildContext(t)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "build", "-o", part, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		t.Fatalf("natstest: building the server: %v\n%s", err, out)
	}
	if err := os.Rename(part, bin); err != nil {
		t.Fatalf("natstest: keeping the server binary: %v", err)
	}
	return bin
}
