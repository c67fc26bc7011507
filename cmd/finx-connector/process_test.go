package main

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

// asProgram in the environment makes the test binary the program itself.
const asProgram = "TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(theVault.Run(m))
}

// process is the program as a process of its own.
type process struct {
	*exec.Cmd
	stdout, stderr buffer
	ended          chan error
}

func (r *rig) process(t *testing.T, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self, args...), ended: make(chan error, 1)}
	p.Env = []string{asProgram + "=1"}
	for name, value := range r.env {
		p.Env = append(p.Env, name+"="+value)
	}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.Wait() }()
	t.Cleanup(func() { _ = p.Process.Kill() })
	return p
}

func (p *process) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(30 * time.Second):
		t.Fatalf("the process does not end:\n%s", p.stderr.String())
		return nil
	}
}

func TestTheFirstSignalDrains(t *testing.T) {
	r := applied(t).withServers(t)
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := r.process(t, "serve")
		listening(t, &p.stderr)
		p.signal(t, sig)
		if err := p.wait(t); err != nil || p.stdout.String() != "" || !strings.Contains(p.stderr.String(), `"msg":"drained"`) {
			t.Errorf("%s: %v\n%s%s", sig, err, p.stdout.String(), p.stderr.String())
		}
	}
}

func TestTheSecondSignalEndsAtOnce(t *testing.T) {
	r := applied(t).withServers(t)
	asked, release := make(chan struct{}, 100), make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	}))
	t.Cleanup(stuck.Close)
	t.Cleanup(func() { close(release) })
	maps.Copy(r.env, map[string]string{"FINX_BASE_URL": stuck.URL, "FINX_TIMEOUT_LINK": "10m", "DRAIN_TIMEOUT": "10m"})
	p := r.process(t, "serve")
	listening(t, &p.stderr)
	r.run(t, "emit", "connect", "--user-id", "me", "--redirect-uri", "https://app.example/cb").done(t)
	<-asked
	p.signal(t, syscall.SIGTERM)
	natstest.Eventually(t, 20*time.Second, func() bool { return strings.Contains(p.stderr.String(), `"msg":"draining"`) }, "the drain begins")
	p.signal(t, syscall.SIGTERM)
	exit, ok := errors.AsType[*exec.ExitError](p.wait(t))
	if !ok {
		t.Fatal("a process that was ended says it was done")
	}
	if exit.ExitCode() != exitFailed || !strings.Contains(p.stderr.String(), "ended at once by a second signal: terminated") {
		t.Errorf("%v: %s", exit, p.stderr.String())
	}
}

func TestExitCodesLeaveTheProcess(t *testing.T) {
	r := &rig{env: map[string]string{"NATS_URL": "nats://127.0.0.1:1"}}
	for args, code := range map[string]int{"version": 0, "streams check --timeout 50ms": 1, "frob": 2} {
		p := r.process(t, strings.Fields(args)...)
		_ = p.wait(t) // says the code in words
		if got := p.ProcessState.ExitCode(); got != code {
			t.Errorf("%s exits with %d, want %d: %s", args, got, code, p.stderr.String())
		}
	}
}
