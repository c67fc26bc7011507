package e2e_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// start runs a connector inside the test and waits until it can take work. The
// returned stop drains it; the end of the test does so too.
func (r *rig) start() (stop func()) {
	r.t.Helper()
	_, stop = r.startAt()
	return stop
}

// startAt is start for those who ask the health server at addr.
func (r *rig) startAt() (addr string, stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	s := r.settings()
	s.Process.ListenAddr = "127.0.0.1:0"
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- app.Run(ctx, app.Options{
			Settings: s, Version: "e2e", Secrets: r.memory, OnReady: func(addr string) { ready <- addr },
			Logger: slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				r.t.Errorf("the connector ended with: %v", err)
			}
		})
	}
	r.t.Cleanup(stop)
	select {
	case addr = <-ready:
		waitReady(r.t, addr, nil)
	case err := <-ended:
		r.t.Fatalf("the connector did not start: %v", err)
	}
	return addr, stop
}

// process is the real program, as a process of its own.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	out    *output
	exited chan struct{}
	code   int // after exited
	addr   string
}

// output is what a program wrote, to standard output and error.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// run starts a program of ours with this rig's environment and nothing else.
func (r *rig) run(name string, args ...string) *process {
	r.t.Helper()
	return launch(r.t, programs.path(r.t, name), r.env, args...)
}

func launch(t testing.TB, path string, env map[string]string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(path, args...), out: &output{}, exited: make(chan struct{}), addr: env["LISTEN_ADDR"]}
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	for name, value := range env {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nothing stays behind when the test is killed
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the exit code says it
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", name(path), tail(p.out.String(), 16<<10))
		}
	})
	return p
}

// serve starts `finx-connector serve` and waits until it can take work.
func (r *rig) serve() *process {
	r.t.Helper()
	p := r.run("finx-connector", "serve")
	waitReady(r.t, p.addr, p)
	return p
}

// kill ends the process as a crash would; a dead one stays dead.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// term asks the process to stop and returns its exit code and how long it took.
func (p *process) term(within time.Duration) (code int, took time.Duration) {
	p.t.Helper()
	begun := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	return p.wait(within), time.Since(begun)
}

// wait waits for the end of the process and returns its exit code.
func (p *process) wait(within time.Duration) int {
	p.t.Helper()
	limit := time.NewTimer(within)
	defer limit.Stop()
	select {
	case <-p.exited:
	case <-limit.C:
		p.t.Fatalf("the process is still there after %s", within)
	}
	return p.code
}

// waitReady waits until /readyz says 200. p is nil for a connector in this process.
func waitReady(t testing.TB, addr string, p *process) {
	t.Helper()
	natstest.Eventually(t, within, func() bool {
		if p != nil {
			select {
			case <-p.exited:
				t.Fatalf("the process ended with exit code %d:\n%s", p.code, tail(p.out.String(), 4<<10))
			default:
			}
		}
		status, _, err := get(t, addr, "/readyz")
		return err == nil && status == http.StatusOK
	}, "connector ready")
}

// get asks the health server.
func get(t testing.TB, addr, path string) (status int, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), err
}

func name(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func tail(s string, most int) string {
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}
