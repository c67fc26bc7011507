package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// output is a writer that a running program and the test may use at once.
type output struct {
	mu      sync.Mutex
	b       strings.Builder
	written chan struct{}
}

func newOutput() *output { return &output{written: make(chan struct{}, 100)} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer func() {
		select {
		case o.written <- struct{}{}:
		default:
		}
	}()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func noEnv(string) string { return "" }

// program is the sandbox running as a user would run it.
type program struct {
	base           string
	stdout, stderr *output
	stop           func() int
}

func startProgram(t *testing.T, getenv func(string) string, args ...string) program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := program{stdout: newOutput(), stderr: newOutput()}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"--listen", "127.0.0.1:0"}, args...), getenv, p.stdout, p.stderr)
	}()
	p.stop = sync.OnceValue(func() int {
		cancel()
		select {
		case c := <-code:
			return c
		case <-time.After(20 * time.Second):
			t.Error("the program does not stop")
			return -1
		}
	})
	t.Cleanup(func() { p.stop() })
	select {
	case <-p.stdout.written:
	case <-time.After(20 * time.Second):
		t.Fatalf("the program says nothing: %s", p.stderr)
	}
	p.base = regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(p.stdout.String())
	return p
}

func (p program) post(t *testing.T, path, id, secret, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(id, secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

const linkBody = `{"redirect_uri":"http://localhost/callback","user_id":"me"}`

func TestRunServesUntilStopped(t *testing.T) {
	p := startProgram(t, noEnv, "--accounts", "2", "--log", "error")
	if out := p.stdout.String(); !strings.Contains(out, "sandbox:sandbox-secret") || !strings.Contains(out, "/ongoing/access") {
		t.Errorf("it does not say how to try it: %s", out)
	}
	if status, body := p.post(t, "/ongoing/access", "sandbox", "sandbox-secret", linkBody); status != 201 || !strings.Contains(body, p.base+"/widget/?token=") {
		t.Errorf("link: %d %s", status, body)
	}
	if code := p.stop(); code != exitOK || !strings.Contains(p.stdout.String(), "stopped") {
		t.Errorf("exit %d: %s", code, p.stdout)
	}
}

func TestRunStopsInTheMiddleOfASlowAnswer(t *testing.T) {
	p := startProgram(t, noEnv)
	p.post(t, "/_sandbox/faults", "", "", `{"call":"version","drip":{"bytes":1,"interval":"1h"}}`)
	resp, err := http.Get(p.base + "/version")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if code := p.stop(); code != exitOK {
		t.Errorf("exit %d", code)
	}
}

func TestEnvironmentGivesTheClient(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("canary-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for variable, value := range map[string]string{"FINX_CLIENT_SECRET": "canary-secret", "FINX_CLIENT_SECRET_FILE": file} {
		t.Run(variable, func(t *testing.T) {
			p := startProgram(t, func(k string) string {
				return map[string]string{"FINX_CLIENT_ID": "own", variable: value}[k]
			})
			if status, _ := p.post(t, "/ongoing/access", "own", "canary-secret", linkBody); status != 201 {
				t.Errorf("status %d", status)
			}
			if status, _ := p.post(t, "/ongoing/access", "sandbox", "sandbox-secret", linkBody); status != 401 {
				t.Errorf("the default client: status %d", status)
			}
			p.stop()
			if out := p.stdout.String() + p.stderr.String(); strings.Contains(out, "canary-secret") || !strings.Contains(out, "call=access") {
				t.Errorf("output: %s", out)
			}
		})
	}
}

func TestASecretFileThatHoldsNoneIsRefused(t *testing.T) {
	for _, path := range []string{"/no/such/file", os.DevNull} {
		errs := newOutput()
		env := func(k string) string { return map[string]string{"FINX_CLIENT_SECRET_FILE": path}[k] }
		if code := run(t.Context(), nil, env, io.Discard, errs); code != exitUsage || !strings.Contains(errs.String(), "FINX_CLIENT_SECRET_FILE: ") {
			t.Errorf("%s: exit %d: %s", path, code, errs)
		}
	}
}

func TestExitCodes(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, tt := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"help", []string{"--help"}, exitOK, "Example:\n  finx-sandbox --listen", ""},
		{"unknown flag", []string{"--nope"}, exitUsage, "", "-nope"},
		{"argument", []string{"serve"}, exitUsage, "", `"serve"`},
		{"bad value", []string{"--grace", "soon"}, exitUsage, "", "grace"},
		{"bad option", []string{"--code-bytes", "5"}, exitUsage, "", "CodeBytes"},
		{"bad day", []string{"--history-end", "yesterday"}, exitUsage, "", "history-end"},
		{"bad level", []string{"--log", "loud"}, exitUsage, "", "--log"},
		{"port taken", []string{"--listen", taken.Addr().String()}, exitFailed, "", "listening"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs := newOutput(), newOutput()
			if code := run(t.Context(), tt.args, noEnv, out, errs); code != tt.code {
				t.Errorf("exit %d, want %d", code, tt.code)
			}
			if !strings.Contains(out.String(), tt.stdout) || !strings.Contains(errs.String(), tt.stderr) {
				t.Errorf("stdout %q, stderr %q", out, errs)
			}
			if tt.code == exitOK && errs.String() != "" {
				t.Errorf("stderr %q", errs)
			}
		})
	}
}
