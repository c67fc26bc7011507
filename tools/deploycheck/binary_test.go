package deploycheck

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// buildStages say which stage compiles which program.
func buildStages() map[string]string {
	return map[string]string{"finx-connector": "build-connector", "finx-sandbox": "build-sandbox"}
}

// program builds one by the very command of the Dockerfile and returns its path.
func program(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := buildCommand(t, buildStages()[name], dir).CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	return filepath.Join(dir, name)
}

// buildCommand is the RUN line of a stage with go build in it, in this checkout
// instead of /src and into dir instead of /out.
func buildCommand(t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	for _, run := range all[*instructions.RunCommand](stage(t, name)) {
		line := strings.Join(run.CmdLine, " ")
		if !strings.Contains(line, "go build") {
			continue
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", strings.ReplaceAll(line, "/out/", dir+"/"))
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH, "VERSION=7.8.9", "COMMIT=0123abcd", "GOFLAGS=", "GOWORK=off")
		for _, env := range all[*instructions.EnvCommand](stage(t, "source")) {
			for _, pair := range env.Env {
				cmd.Env = append(cmd.Env, pair.Key+"="+pair.Value)
			}
		}
		return cmd
	}
	t.Fatalf("the stage %s builds nothing", name)
	return nil
}

// An image of scratch has no loader and no C library.
func TestProgramsAreStatic(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the programs are for Linux")
	}
	for _, name := range images() {
		path := program(t, name)
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // read only
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("%s is not static: it has a segment %v", name, p.Type)
			}
		}
		data := read(t, path)
		checkout, err := filepath.Abs(root)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), checkout+"/") {
			t.Errorf("%s tells where it was built", name)
		}
	}
}

func TestVersionIsStamped(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), program(t, "finx-connector"), "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "finx-connector 7.8.9\ncommit 0123abcd\n") {
		t.Errorf("%v: %s", err, out)
	}
}
