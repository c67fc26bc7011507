package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// page is one of the repository's with figures in it, which stand between two lines.
type page struct{ path, begin string }

// figuresEnd is the second of them.
const figuresEnd = "<!-- end of figures -->\n"

// The pages that there are.
func benchmarksPage() page {
	return page{"docs/benchmarks.md", "<!-- figures, written by make bench BENCHFLAGS=-update -->\n"}
}

func operatingPage() page {
	return page{"docs/operating.md", "<!-- figures, written by make scale SCALEFLAGS=-update -->\n"}
}

// write puts what text writes into the page, in place of the figures that are there.
func (p page) write(text func(io.Writer) error) error {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output() //nolint:noctx // it takes no time
	if err != nil {
		return fmt.Errorf("finding %s: %w", p.path, err)
	}
	file := filepath.Join(strings.TrimSpace(string(out)), p.path)
	old, err := os.ReadFile(file) //nolint:gosec // a page of the docs
	if err != nil {
		return err
	}
	before, rest, begun := strings.Cut(string(old), p.begin)
	_, after, ended := strings.Cut(rest, figuresEnd)
	if !begun || !ended {
		return errors.New(p.path + " lacks the lines between which the figures stand")
	}
	var b bytes.Buffer
	if err := text(&b); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(before+p.begin+"\n"+b.String()+"\n"+figuresEnd+after), 0o644) //nolint:gosec // a page of the docs
}
