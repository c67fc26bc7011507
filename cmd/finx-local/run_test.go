package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

// terminal is what the program printed.
type terminal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *terminal) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *terminal) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// anywhere are flags under which every part takes a free port.
func anywhere(state string, more ...string) []string {
	args := []string{"--state", state, "--accounts", "2", "--transactions", "300"}
	for _, name := range []string{"nats", "sandbox", "page", "listen"} {
		args = append(args, "--"+name, "127.0.0.1:0")
	}
	return append(args, more...)
}

func noEnvironment(string) string { return "" }

// secretLike matches what the sandbox's codes, tokens and widget links look like.
var secretLike = regexp.MustCompile(`eyJ|/widget/|[?&](code|token)=|` + clientSecret + `|[A-Za-z0-9_-]{60}`)

func TestOncePlaysTheStoryAndEnds(t *testing.T) {
	state := t.TempDir()
	for range 2 { // the second finds what the first left behind
		var out, complaints terminal
		code := run(t.Context(), anywhere(state, "--once"), noEnvironment, &out, &complaints)
		if code != 0 || complaints.String() != "" {
			t.Fatalf("exit code %d: %s\n%s", code, complaints.String(), out.String())
		}
		rest := out.String()
		for _, next := range []string{
			"secrets: in memory", "JetStream server", "finX sandbox", "streams, consumers and buckets applied", "connector started",
			"-> user.connect.requested", "<- widget.link.created", "-> callback.received", "<- connection.established",
			"<- transactions.fetched", "<- transactions.fetch.completed", "done in",
		} {
			_, after, found := strings.Cut(rest, next)
			if !found {
				t.Errorf("%q is missing, or not in its place:\n%s", next, out.String())
				break
			}
			rest = after
		}
		if leak := secretLike.FindString(out.String()); leak != "" {
			t.Errorf("printed something like a secret: %q", leak)
		}
	}
}

func TestVerboseTellsNoSecrets(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		all, _ := io.ReadAll(reader)
		read <- string(all)
	}()
	stderr := os.Stderr
	os.Stderr = writer
	getenv := func(name string) string { return map[string]string{"LOG_LEVEL": "debug"}[name] }
	var out terminal
	code := run(t.Context(), anywhere(t.TempDir(), "--once", "--verbose"), getenv, &out, io.Discard)
	os.Stderr = stderr
	_ = writer.Close()
	log := <-read
	if code != 0 || !strings.Contains(log, "delivery settled") {
		t.Errorf("exit code %d, log:\n%s", code, log)
	}
	if leak := secretLike.FindString(log); leak != "" {
		t.Errorf("logged something like a secret: %q", leak)
	}
}

func TestWrongUsage(t *testing.T) {
	for name, args := range map[string][]string{
		"unknown flag":    {"--twice"},
		"an argument":     {"start"},
		"no accounts":     {"--accounts", "0"},
		"fewer than none": {"--transactions", "-1"},
		"no duration":     {"--patience", "long"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, complaints terminal
			state := filepath.Join(t.TempDir(), "state")
			if code := run(t.Context(), append([]string{"--once", "--state", state}, args...), noEnvironment, &out, &complaints); code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
			if complaints.String() == "" {
				t.Error("no word about it")
			}
			if _, err := os.Stat(state); err == nil {
				t.Error("something was begun all the same")
			}
		})
	}
	var help terminal
	if code := run(t.Context(), []string{"--help"}, noEnvironment, io.Discard, &help); code != 0 || !strings.Contains(help.String(), "--once") {
		t.Errorf("--help: exit code %d, %q", code, help.String())
	}
}

func TestFailuresEndWithOne(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		says string
	}{
		"no patience":                  {anywhere(t.TempDir(), "--once", "--patience", "1ms"), nil, "took longer than 1ms"},
		"a file for a state directory": {anywhere(file, "--once"), nil, "state directory"},
		"a setting that is none":       {anywhere(t.TempDir(), "--once"), map[string]string{"PAGE_SIZE": "many"}, "PAGE_SIZE"},
		"a Vault without a token":      {anywhere(t.TempDir(), "--once"), map[string]string{"VAULT_ADDR": "http://127.0.0.1:1"}, "VAULT_TOKEN"},
	} {
		t.Run(name, func(t *testing.T) {
			var complaints terminal
			code := run(t.Context(), c.args, func(name string) string { return c.env[name] }, io.Discard, &complaints)
			if code != 1 || !strings.Contains(complaints.String(), c.says) {
				t.Errorf("exit code %d: %s", code, complaints.String())
			}
		})
	}
}

// TestEveryPortTaken is a newcomer who runs all kinds of servers already.
func TestEveryPortTaken(t *testing.T) {
	args := []string{"--state", t.TempDir(), "--once", "--transactions", "20"}
	for _, name := range []string{"nats", "sandbox", "page", "listen"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		args = append(args, "--"+name, ln.Addr().String())
	}
	var out, complaints terminal
	if code := run(t.Context(), args, noEnvironment, &out, &complaints); code != 0 {
		t.Errorf("exit code %d: %s\n%s", code, complaints.String(), out.String())
	}
}

// TestStaysUpForAPerson does by hand, with a browser's requests, what the story
// does by itself, and then presses Ctrl-C.
func TestStaysUpForAPerson(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	var out, complaints terminal
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, anywhere(t.TempDir()), noEnvironment, &out, &complaints) }()
	natstest.Eventually(t, 30*time.Second, func() bool {
		return strings.Contains(out.String(), "Everything stays up") && strings.Contains(out.String(), "/metrics\n")
	}, "stays up")
	page, sandbox := address(t, out.String(), "the same by hand"), address(t, out.String(), "sandbox   ")
	metrics := address(t, out.String(), "metrics   ")

	link := redirect(t, http.MethodPost, page+"/connect", url.Values{"user_id": {"by-hand@example.com"}})
	if !strings.HasPrefix(link, sandbox+"/widget/") {
		t.Fatalf("the browser is sent to %s", strings.Split(link, "?")[0])
	}
	body, _ := json.Marshal(map[string]string{"location": link, "action": "approve"})
	var approved struct{ Redirect string }
	if err := json.Unmarshal([]byte(fetch(t, http.MethodPost, sandbox+"/_sandbox/approve", string(body))), &approved); err != nil {
		t.Fatal(err)
	}
	connection := redirect(t, http.MethodGet, approved.Redirect, nil)
	if strings.Contains(connection, "code") {
		t.Error("the code stays in the address bar")
	}
	natstest.Eventually(t, 30*time.Second, func() bool {
		return strings.Contains(fetch(t, http.MethodGet, page+connection, ""), "That is all")
	}, "fetched by hand")
	if text := fetch(t, http.MethodGet, metrics, ""); !strings.Contains(text, "finx_connector_") {
		t.Error("no metrics")
	}
	interrupt()
	if code := <-ended; code != 0 || complaints.String() != "" {
		t.Errorf("exit code %d: %s", code, complaints.String())
	}
	if leak := secretLike.FindString(out.String()); leak != "" {
		t.Errorf("printed something like a secret: %q", leak)
	}
}

// address returns the address printed behind a label at the end of the story.
func address(t *testing.T, text, label string) string {
	t.Helper()
	_, rest, _ := strings.Cut(text, "Everything stays up")
	_, rest, ok := strings.Cut(rest, label)
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		t.Fatalf("no address of %q in:\n%s", label, text)
	}
	return fields[0]
}

// redirect sends a request as a browser would and returns where it is sent to.
func redirect(t *testing.T, method, to string, form url.Values) string {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusSeeOther {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s %s: status %d: %s", method, req.URL.Path, resp.StatusCode, text)
	}
	return resp.Header.Get("Location")
}

func fetch(t *testing.T, method, from, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, from, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: status %d, %v", method, req.URL.Path, resp.StatusCode, err)
	}
	return string(text)
}
