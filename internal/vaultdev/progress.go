package vaultdev

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// keptLines is how much of the compiler's output an error shows.
const keptLines = 20

// report counts what `go build -v` prints, a line for each package compiled or
// module downloaded, and passes on a summary now and then.
type report struct {
	out      io.Writer
	terminal bool
	started  time.Time
	told     time.Time
	partial  []byte
	last     []string

	packages, downloads int
}

func newReport(out io.Writer, started time.Time) *report {
	r := &report{out: out, started: started, told: started}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		r.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	r.say("building the real Vault core for local use (minutes the first time, then kept)")
	return r
}

// Write takes the output of the build. os/exec calls it from one goroutine,
// because both streams of the command are this one writer.
func (r *report) Write(p []byte) (int, error) {
	r.partial = append(r.partial, p...)
	for {
		line, rest, ok := bytes.Cut(r.partial, []byte("\n"))
		if !ok {
			break
		}
		r.count(string(line))
		r.partial = rest
	}
	every := 10 * time.Second
	if r.terminal {
		every = 200 * time.Millisecond
	}
	if now := time.Now(); now.Sub(r.told) >= every {
		r.told = now
		r.say(r.summary())
	}
	return len(p), nil
}

func (r *report) count(line string) {
	if strings.HasPrefix(line, "go: downloading ") {
		r.downloads++
	} else {
		r.packages++
	}
	r.last = append(r.last, line)
	if len(r.last) > keptLines {
		r.last = r.last[1:]
	}
}

func (r *report) summary() string {
	return fmt.Sprintf("building the Vault core: %d modules downloaded, %d of some 980 packages compiled, %s",
		r.downloads, r.packages, time.Since(r.started).Round(time.Second))
}

func (r *report) say(text string) {
	if r.out == nil {
		return
	}
	if r.terminal {
		fmt.Fprintf(r.out, "\r\x1b[K%s", text)
		return
	}
	fmt.Fprintln(r.out, text)
}

func (r *report) done() {
	r.say(r.summary())
	if r.terminal {
		fmt.Fprintln(r.out)
	}
}

func (r *report) lastLines() string { return strings.Join(r.last, "\n") }
