package deploycheck

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

func TestBuildContextIsEnoughAndNoMore(t *testing.T) {
	patterns, err := ignorefile.ReadAll(bytes.NewReader(read(t, inRoot(".dockerignore"))))
	if err != nil {
		t.Fatal(err)
	}
	ignore, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	left := func(path string) bool {
		t.Helper()
		out, err := ignore.MatchesOrParentMatches(path)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, path := range sources(t) {
		if left(path) {
			t.Errorf("%s is compiled and not in the build context: name its folder in .dockerignore", path)
		}
	}
	for _, path := range []string{
		".git/config", ".env", "prod.creds", "deploy/compose/secrets/finx-client-secret", "deploy/helm/finx-connector/values.yaml",
		".local/vault/token", "bin/finx-connector", "events/testdata/x.json", "app/app_test.go", "tools/vaultdev/main.go",
	} {
		if !left(path) {
			t.Errorf("%s is in the build context", path)
		}
	}
}

// sources returns the files of this module that the images are compiled from.
func sources(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=Dir,GoFiles,EmbedFiles,Module", "./cmd/finx-connector", "./cmd/finx-sandbox")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	base, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"go.mod", "go.sum"}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p struct {
			Dir                 string
			GoFiles, EmbedFiles []string
			Module              *struct{ Main bool }
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if p.Module == nil || !p.Module.Main {
			continue
		}
		for _, f := range append(p.GoFiles, p.EmbedFiles...) {
			files = append(files, strings.TrimPrefix(filepath.Join(p.Dir, f), base+"/"))
		}
	}
	if len(files) < 100 {
		t.Fatalf("only %d files were found", len(files))
	}
	return files
}
