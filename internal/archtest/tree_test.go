package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path of the root module; root is its directory as seen from
// here.
const (
	module = "github.com/finx-connector/finx-connector"
	root   = "../.."
)

// pkg is one directory with Go files. Imports are read with go/parser and not
// with go list, so that build constraints hide no file.
type pkg struct {
	prod map[string]bool // import paths of its non-test files
	test map[string]bool // import paths of its _test.go files
}

// packages returns every package of the root module by its path below the
// module, "events" or "cmd/finx-connector".
func packages(t *testing.T) map[string]*pkg {
	t.Helper()
	found := map[string]*pkg{}
	for _, file := range sourceFiles(t, ".go") {
		dir := path.Dir(file)
		if isModule(dir) {
			continue // it imports nothing of ours
		}
		if found[dir] == nil {
			found[dir] = &pkg{prod: map[string]bool{}, test: map[string]bool{}}
		}
		into := found[dir].prod
		if strings.HasSuffix(file, "_test.go") {
			into = found[dir].test
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range syntax.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatalf("%s: import %s: %v", file, spec.Path.Value, err)
			}
			into[name] = true
		}
	}
	if len(found) == 0 {
		t.Fatal("no package found: archtest looks at the wrong directory")
	}
	return found
}

// isModule reports whether a directory below the root is in a module of its own.
func isModule(dir string) bool {
	for ; dir != "."; dir = path.Dir(dir) {
		if _, err := os.Stat(filepath.Join(root, dir, "go.mod")); err == nil {
			return true
		}
	}
	return false
}

// sourceFiles returns the files below the root with one of the endings, by
// their slash-separated path. Build output, test data and hidden directories
// other than .ci are left out.
func sourceFiles(t *testing.T, endings ...string) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && name != ".ci" && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.Type().IsRegular() && slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(name, e) }):
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// ours returns the imports that are packages of this module, by their path
// below it, sorted.
func ours(imports map[string]bool) []string {
	var names []string
	for name := range imports {
		if below, ok := strings.CutPrefix(name, module+"/"); ok {
			names = append(names, below)
		}
	}
	slices.Sort(names)
	return names
}

// foreign returns the imports that are neither ours nor of the standard
// library, whose first path element has no dot, sorted.
func foreign(imports map[string]bool) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(imports)) {
		first, _, _ := strings.Cut(name, "/")
		if strings.Contains(first, ".") && name != module && !strings.HasPrefix(name, module+"/") {
			names = append(names, name)
		}
	}
	return names
}
