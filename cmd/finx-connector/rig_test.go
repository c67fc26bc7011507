package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

// rig is a broker and a command line to it.
type rig struct {
	env     map[string]string
	environ []string
	now     func() time.Time
	js      jetstream.JetStream
	srv     *natstest.Server
}

func newRig(t *testing.T, opts ...natstest.Option) *rig {
	t.Helper()
	srv := natstest.Start(t, opts...)
	return &rig{srv: srv, js: natstest.JetStream(t, srv.URL()), env: map[string]string{"NATS_URL": srv.URL()}}
}

// applied is a rig with the streams made.
func applied(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.run(t, "streams", "apply").done(t)
	return r
}

// result is what a command left behind.
type result struct {
	code           int
	stdout, stderr string
	args           string
}

func (r *rig) run(t *testing.T, args ...string) result { t.Helper(); return r.input(t, "", args...) }

func (r *rig) input(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	return r.runContext(t.Context(), stdin, args...)
}

func (r *rig) runContext(ctx context.Context, stdin string, args ...string) result {
	var stdout, stderr buffer
	code := run(ctx, args, r.system(strings.NewReader(stdin), &stdout, &stderr))
	return result{code, stdout.String(), stderr.String(), strings.Join(args, " ")}
}

func (r *rig) system(stdin io.Reader, stdout, stderr *buffer) system {
	return system{
		getenv:  func(name string) string { return r.env[name] },
		environ: r.environ, stdin: stdin, stdout: stdout, stderr: stderr, now: r.now,
	}
}

// buffer is a writer that a running command and the test may use at once.
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

func (r result) done(t *testing.T) result { t.Helper(); return r.exits(t, exitOK) }

func (r result) exits(t *testing.T, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("%q exits with %d, want %d\nstdout: %s\nstderr: %s", r.args, r.code, code, r.stdout, r.stderr)
	}
	return r
}

func (r result) prints(t *testing.T, parts ...string) result {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(r.stdout, part) {
			t.Errorf("%q does not print %q:\n%s", r.args, part, r.stdout)
		}
	}
	return r
}

func (r result) complains(t *testing.T, parts ...string) result {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(r.stderr, part) {
			t.Errorf("%q does not complain of %q:\n%s", r.args, part, r.stderr)
		}
	}
	return r
}

// hides fails when any of the texts was printed anywhere.
func (r result) hides(t *testing.T, texts ...string) result {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(r.stdout+r.stderr, text) {
			t.Errorf("%q prints %q:\n%s%s", r.args, text, r.stdout, r.stderr)
		}
	}
	return r
}

func decodeJSON[T any](t *testing.T, r result) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		t.Fatalf("%q prints no JSON of this shape: %v\n%s", r.args, err, r.stdout)
	}
	return v
}
