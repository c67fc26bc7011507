package archtest

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// maxLines is the hard stop for a Go file, tests included; the aim is some
// 150. Functions are held to 80 lines by the linter.
const maxLines = 400

func TestFilesStayShort(t *testing.T) {
	for _, file := range sourceFiles(t, ".go") {
		if n := bytes.Count(read(t, file), []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: find the second thing it does", file, n, maxLines)
		}
	}
}

// openEnd is put together from halves so that this file does not match it.
var openEnd = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

// TestNoOpenEnds keeps promises out of the tree: what is not done is an issue,
// not a comment.
func TestNoOpenEnds(t *testing.T) {
	for _, file := range sourceFiles(t, ".go", ".sh", ".md", ".yml", ".yaml", ".html", ".css", ".js", ".json", "Makefile", ".ci/run", "Dockerfile") {
		for i, line := range bytes.Split(read(t, file), []byte("\n")) {
			if word := openEnd.Find(line); word != nil {
				t.Errorf("%s:%d says %s: do it, or write an issue", file, i+1, word)
			}
		}
	}
}

// TestSleepsAreVirtual allows a test to sleep only where the clock is that of
// testing/synctest: there a sleep is a statement about time, elsewhere it is a
// bet on the speed of the machine.
func TestSleepsAreVirtual(t *testing.T) {
	for _, file := range sourceFiles(t, "_test.go") {
		src := read(t, file)
		if bytes.Contains(src, []byte("time."+"Sleep(")) && !bytes.Contains(src, []byte(`"testing/synctest"`)) {
			t.Errorf("%s sleeps on the real clock: wait for the event itself", file)
		}
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return content
}
