package vaultdev

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a running server. Its methods are safe for concurrent use.
type Process struct {
	Addr      string // http://127.0.0.1:port
	Token     string // root token, DEV ONLY
	UnsealKey string // DEV ONLY

	cmd    *exec.Cmd
	stdin  io.Closer
	done   chan struct{}
	err    error // set before done is closed
	ending sync.Once
}

// Start runs binary with args and returns when it takes requests. ctx bounds
// the start only. The server ends with Stop, or by itself when this process
// dies, because -stdin is always added.
func Start(ctx context.Context, binary string, args ...string) (*Process, error) {
	cmd := exec.Command(binary, append(args, "-stdin")...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("vaultdev: starting: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("vaultdev: starting: %w", err)
	}
	said := &tail{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("vaultdev: starting: %w", err)
	}
	p := &Process{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	ready := make(chan string, 1)
	go p.watch(stdout, ready)
	select {
	case line, ok := <-ready:
		if !ok {
			<-p.done
			return nil, fmt.Errorf("vaultdev: starting: %w: %s", errors.Join(p.err), said)
		}
		if err := p.parse(line); err != nil {
			return nil, errors.Join(err, p.Kill())
		}
		return p, nil
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("vaultdev: starting: %w", context.Cause(ctx)), p.Kill())
	}
}

// watch hands over the first line, reads on so that the server never blocks on
// a full pipe, and reaps the process.
func (p *Process) watch(stdout io.Reader, ready chan<- string) {
	lines := bufio.NewScanner(stdout)
	if lines.Scan() {
		ready <- lines.Text()
	}
	close(ready)
	_, _ = io.Copy(io.Discard, stdout)
	p.err = p.cmd.Wait()
	close(p.done)
}

// parse reads the ready line:
// "Vault 1.13.2 (inmem) ready: VAULT_ADDR=… VAULT_TOKEN=… UNSEAL_KEY=…".
func (p *Process) parse(line string) error {
	for field := range strings.FieldsSeq(line) {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "VAULT_ADDR":
			p.Addr = value
		case "VAULT_TOKEN":
			p.Token = value
		case "UNSEAL_KEY":
			p.UnsealKey = value
		}
	}
	if p.Addr == "" || p.Token == "" || p.UnsealKey == "" {
		return fmt.Errorf("vaultdev: starting: unexpected first line of %d bytes", len(line))
	}
	return nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Pid is the number of the process, for its use of CPU and memory.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends sig, for example SIGSTOP to play a server that hangs.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Stop ends the server cleanly: SIGTERM, and after 10 s SIGKILL. It returns nil
// when the server ended by itself with status 0, also when called again.
func (p *Process) Stop() error {
	p.ending.Do(func() {
		_ = p.Signal(syscall.SIGTERM)
		_ = p.stdin.Close()
	})
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		return errors.Join(errors.New("vaultdev: stopping: no end within 10 s"), p.Kill())
	}
	if p.err != nil {
		return fmt.Errorf("vaultdev: stopping: %w", p.err)
	}
	return nil
}

// Kill ends the server without warning, as a crash would, and waits for it.
func (p *Process) Kill() error {
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	_ = p.stdin.Close()
	<-p.done
	return err
}

// tail keeps the last bytes of what a process wrote to standard error.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailBytes; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
