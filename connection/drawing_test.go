package connection_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/connection"
)

var update = flag.Bool("update", false, "rewrite the drawing in docs/state-machine.md")

const (
	drawingFile  = "../docs/state-machine.md"
	drawingBegin = "<!-- drawing:begin -->\n"
	drawingEnd   = "<!-- drawing:end -->"
)

// TestDrawingIsTheTable keeps the page from drifting from the code. After a
// change of the table: go test ./connection -run Drawing -update.
func TestDrawingIsTheTable(t *testing.T) {
	data, err := os.ReadFile(drawingFile)
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	head, rest, ok := strings.Cut(page, drawingBegin)
	_, tail, ok2 := strings.Cut(rest, drawingEnd)
	if !ok || !ok2 {
		t.Fatalf("%s: the markers %q and %q are missing", drawingFile, drawingBegin, drawingEnd)
	}
	want := head + drawingBegin + drawing() + drawingEnd + tail
	if want == page {
		return
	}
	if !*update {
		t.Fatalf("%s does not show the transition table; run with -update", drawingFile)
	}
	if err := os.WriteFile(drawingFile, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestThePageNamesEveryState(t *testing.T) {
	page, err := os.ReadFile(drawingFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range connection.States() {
		if !strings.Contains(string(page), fmt.Sprintf("| `%s` |", s)) {
			t.Errorf("%s: no row for %s", drawingFile, s)
		}
	}
}

func drawing() string {
	var b strings.Builder
	b.WriteString("```mermaid\nstateDiagram-v2\n    [*] --> requested: user.connect.requested\n")
	for _, t := range connection.Transitions() {
		fmt.Fprintf(&b, "    %s --> %s: %s\n", t.From, t.To, t.Why)
	}
	for _, s := range connection.States() {
		if s.Terminal() {
			fmt.Fprintf(&b, "    %s --> [*]\n", s)
		}
	}
	b.WriteString("```\n")
	return b.String()
}
