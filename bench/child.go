package main

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

// readyWord begins the line by which the broker and the floors say that they work.
const readyWord = "ready"

// child is a process that was started here.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string // the first line of standard output
	said  *tail
	done  chan struct{} // closed when it has ended
	err   error         // how; after done
}

// startChild starts a program with env and nothing else in its environment but
// what a Go program needs.
func startChild(path string, args []string, env map[string]string) (*child, error) {
	cmd := exec.Command(path, args...) //nolint:noctx,gosec // a program that was built here; stop ends it, with SIGTERM first
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir()}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	c := &child{cmd: cmd, lines: make(chan string, 1), said: &tail{}, done: make(chan struct{})}
	cmd.Stderr = c.said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.stdin = stdin
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	go func() {
		defer close(c.done)
		out := bufio.NewScanner(stdout)
		if out.Scan() {
			c.lines <- out.Text()
		}
		close(c.lines)
		_, _ = io.Copy(io.Discard, stdout)
		c.err = cmd.Wait()
	}()
	return c, nil
}

// ready waits for the ready line and returns what stands behind the word.
func (c *child) ready(ctx context.Context) (string, error) {
	select {
	case line, ok := <-c.lines:
		word, rest, _ := strings.Cut(line, " ")
		if !ok || word != readyWord {
			return "", fmt.Errorf("it did not get ready: %s", c.said)
		}
		return rest, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// stopWithin is how long a process has to end by itself.
const stopWithin = 15 * time.Second

// stop ends the process, by force if it takes too long, and returns an error
// when it had to be, or had failed. A second call returns the same.
func (c *child) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	_ = c.stdin.Close()
	limit := time.NewTimer(stopWithin)
	defer limit.Stop()
	select {
	case <-c.done:
	case <-limit.C:
		_ = c.cmd.Process.Kill()
		<-c.done
		return fmt.Errorf("%s did not end within %s: %s", c.cmd.Path, stopWithin, c.said)
	}
	exit, failed := errors.AsType[*exec.ExitError](c.err)
	if failed && exit.ExitCode() == -1 { // our own signal, to a program that does not catch it
		return nil
	}
	if c.err != nil {
		return fmt.Errorf("%s: %w: %s", c.cmd.Path, c.err, c.said)
	}
	return nil
}

// tail keeps the end of what a process wrote to standard error.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	const most = 4 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - most; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
