package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// replica is one connector process of a soak, started again whenever it ends.
type replica struct {
	t    testing.TB
	name string
	bin  string
	env  map[string]string
	addr string // of its health server
	log  *os.File

	mu       sync.Mutex
	cmd      *exec.Cmd
	exited   chan struct{} // of cmd
	asked    bool          // to end
	lives    []*life
	problems []string
}

// life is one process, from its start to its end.
type life struct {
	started    time.Time
	begin, end vitals // begin: when it was ready first; zero when it never was
}

// vitals are what a process takes of the machine.
type vitals struct{ rss, goroutines, fds int }

func newReplica(t testing.TB, name, bin string, log *os.File, env map[string]string) *replica {
	t.Helper()
	r := &replica{t: t, name: name, bin: bin, log: log, addr: env["LISTEN_ADDR"], env: env}
	env["PATH"], env["HOME"] = os.Getenv("PATH"), t.TempDir()
	t.Cleanup(r.kill)
	return r
}

// start starts a process, unless one runs, and does not wait until it is ready.
func (r *replica) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.exited != nil {
		select {
		case <-r.exited:
		default:
			return
		}
	}
	cmd := exec.Command(r.bin, "serve")
	for name, value := range r.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdout, cmd.Stderr = r.log, r.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		r.problems = append(r.problems, r.name+": "+err.Error())
		return
	}
	one, exited := &life{started: time.Now()}, make(chan struct{})
	r.cmd, r.exited, r.asked = cmd, exited, false
	r.lives = append(r.lives, one)
	go r.watch(cmd, exited)
	go r.born(one, exited)
}

// restartPause is how long an orchestrator waits before it starts a process again.
const restartPause = 500 * time.Millisecond

// watch reaps a process. One that ends although nobody asked it to is a finding,
// and is started again, as an orchestrator would.
func (r *replica) watch(cmd *exec.Cmd, exited chan struct{}) {
	_ = cmd.Wait() // the exit code says it
	r.mu.Lock()
	code, asked := cmd.ProcessState.ExitCode(), r.asked
	if !asked {
		r.problems = append(r.problems, fmt.Sprintf("%s ended by itself with exit code %d", r.name, code))
	} else if code != 0 && code != -1 { // -1: by SIGKILL
		r.problems = append(r.problems, fmt.Sprintf("%s ended with exit code %d when it was asked to stop", r.name, code))
	}
	r.mu.Unlock()
	close(exited)
	if !asked {
		<-time.After(restartPause)
		r.start()
	}
}

// born notes what the process takes when it is ready for the first time.
func (r *replica) born(one *life, exited chan struct{}) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-exited:
			return
		case <-tick.C:
		}
		if status, _, err := ask(r.addr, "/readyz"); err != nil || status != http.StatusOK {
			continue
		}
		if v, ok := r.vitals(); ok {
			r.mu.Lock()
			one.begin = v
			r.mu.Unlock()
			return
		}
	}
}

// ready reports whether it can take work now.
func (r *replica) ready() bool {
	status, _, err := ask(r.addr, "/readyz")
	return err == nil && status == http.StatusOK
}

// vitals asks the process itself.
func (r *replica) vitals() (vitals, bool) {
	status, body, err := ask(r.addr, "/metrics")
	if err != nil || status != http.StatusOK {
		return vitals{}, false
	}
	v := vitals{
		rss: int(metric(body, "process_resident_memory_bytes")), goroutines: int(metric(body, "go_goroutines")),
		fds: int(metric(body, "process_open_fds")),
	}
	return v, v.goroutines > 0
}

// metric returns the value of a metric without labels.
func metric(body, name string) float64 {
	_, rest, ok := strings.Cut(body, "\n"+name+" ")
	if !ok {
		return 0
	}
	text, _, _ := strings.Cut(rest, "\n")
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return value
}

// ask is get for goroutines that must not end a test.
func ask(addr, path string) (status int, body string, err error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + addr + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var text strings.Builder
	if _, err := io.Copy(&text, resp.Body); err != nil {
		return 0, "", err
	}
	return resp.StatusCode, text.String(), nil
}

// signal sends a signal to the process of now.
func (r *replica) signal(sig syscall.Signal, ends bool) (exited chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = r.asked || ends
	if r.cmd != nil {
		_ = r.cmd.Process.Signal(sig) // one that is gone needs none
	}
	return r.exited
}

// startAfter starts a process when the one that was asked to stop has ended,
// which it should within that time.
func (r *replica) startAfter(limit time.Duration) {
	r.mu.Lock()
	exited := r.exited
	r.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-exited:
	case <-timer.C:
		r.problemf("still there %s after SIGTERM", limit)
		r.kill()
	}
	r.start()
}

func (r *replica) problemf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, r.name+": "+fmt.Sprintf(format, args...))
}

// kill ends the process as a crash would.
func (r *replica) kill() {
	if exited := r.signal(syscall.SIGKILL, true); exited != nil {
		<-exited
	}
}

// stop asks the process to end, and notes what it takes just before. It reports
// whether it was gone within that time.
func (r *replica) stop(within time.Duration) bool {
	if v, ok := r.vitals(); ok {
		r.mu.Lock()
		r.lives[len(r.lives)-1].end = v
		r.mu.Unlock()
	}
	limit := time.NewTimer(within)
	defer limit.Stop()
	select {
	case <-r.signal(syscall.SIGTERM, true):
		return true
	case <-limit.C:
		return false
	}
}

// found returns what went wrong with the process itself.
func (r *replica) found() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.problems...)
}
