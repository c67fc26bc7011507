package archtest

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "draw the import map into docs/architecture.md")

const (
	mapPage  = "docs/architecture.md"
	mapBegin = "<!-- import map, drawn by go test ./internal/archtest -update -->\n"
	mapEnd   = "<!-- end of import map -->\n"
)

// TestMapIsDrawn compares the page with the tree as it is, so a reader of
// docs/architecture.md sees today's arrows and a reviewer sees a new one in
// the diff.
func TestMapIsDrawn(t *testing.T) {
	file := filepath.Join(root, mapPage)
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(page), mapBegin)
	drawn, after, ended := strings.Cut(rest, mapEnd)
	if !begun || !ended {
		t.Fatalf("%s lacks the lines %q and %q", mapPage, mapBegin, mapEnd)
	}
	want := draw(packages(t))
	if drawn == want {
		return
	}
	if !*update {
		t.Fatalf("%s shows another import map than the tree has; run: go test ./internal/archtest -update\ndrawn:\n%s\nthe tree:\n%s", mapPage, drawn, want)
	}
	if err := os.WriteFile(file, []byte(before+mapBegin+want+mapEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// draw returns one table row a package: what it imports of ours and of third
// parties, tests left out.
func draw(tree map[string]*pkg) string {
	var b strings.Builder
	b.WriteString("\n| package | imports of ours | third parties |\n| --- | --- | --- |\n")
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		p := tree[name]
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, list(ours(p.prod)), list(foreign(p.prod)))
	}
	b.WriteString("\n")
	return b.String()
}

func list(names []string) string {
	if len(names) == 0 {
		return "—"
	}
	return "`" + strings.Join(names, "` `") + "`"
}
