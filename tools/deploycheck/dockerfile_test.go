package deploycheck

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// images are the targets of the Dockerfile that somebody runs.
func images() []string { return []string{"finx-sandbox", "finx-connector"} }

// dockerfile parses deploy/Dockerfile as BuildKit does, with its linter listening.
func dockerfile(t *testing.T) (stages []instructions.Stage, args []instructions.ArgCommand) {
	t.Helper()
	ast, err := parser.Parse(bytes.NewReader(read(t, inRoot("deploy", "Dockerfile"))))
	if err != nil {
		t.Fatal(err)
	}
	lint := linter.New(&linter.Config{Warn: func(rule, description, _, message string, at []parser.Range) {
		t.Errorf("%s: %s (%s) at %v", rule, message, description, at)
	}})
	stages, args, err = instructions.Parse(ast.AST, lint)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range ast.Warnings {
		t.Error(w.Short)
	}
	return stages, args
}

func stage(t *testing.T, name string) instructions.Stage {
	t.Helper()
	stages, _ := dockerfile(t)
	i := slices.IndexFunc(stages, func(s instructions.Stage) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("the Dockerfile has no stage %s", name)
	}
	return stages[i]
}

// all returns the commands of one kind.
func all[C instructions.Command](s instructions.Stage) []C {
	var found []C
	for _, c := range s.Commands {
		if one, ok := c.(C); ok {
			found = append(found, one)
		}
	}
	return found
}

func TestImagesHoldNothingButTheProgram(t *testing.T) {
	stages, _ := dockerfile(t)
	if last := stages[len(stages)-1].Name; last != "finx-connector" {
		t.Errorf("without --target %s is built", last)
	}
	numeric := regexp.MustCompile(`^[1-9][0-9]{3,}:[1-9][0-9]{3,}$`)
	for _, name := range images() {
		s := stage(t, name)
		if s.BaseName != "scratch" {
			t.Errorf("%s stands on %s", name, s.BaseName)
		}
		// Kubernetes cannot tell whether a name is root.
		users := all[*instructions.UserCommand](s)
		if len(users) != 1 || !numeric.MatchString(users[0].User) {
			t.Errorf("%s runs as %v", name, users)
		}
		if runs := all[*instructions.RunCommand](s); len(runs) != 0 {
			t.Errorf("%s runs %v, in an image without a shell", name, runs)
		}
		entry := all[*instructions.EntrypointCommand](s)
		if len(entry) != 1 || entry[0].PrependShell || !slices.Equal(entry[0].CmdLine, []string{"/" + name}) {
			t.Errorf("%s: ENTRYPOINT %v", name, entry)
		}
		for _, c := range all[*instructions.CmdCommand](s) {
			if c.PrependShell {
				t.Errorf("%s: CMD needs a shell", name)
			}
		}
		if stop := all[*instructions.StopSignalCommand](s); len(stop) != 1 || stop[0].Signal != "SIGTERM" {
			t.Errorf("%s: STOPSIGNAL %v", name, stop)
		}
		for _, c := range all[*instructions.CopyCommand](s) {
			if c.From == "" {
				t.Errorf("%s takes %v from the checkout", name, c.SourcePaths)
			}
		}
	}
}

func TestConnectorIsItsOwnHealthCheck(t *testing.T) {
	s := stage(t, "finx-connector")
	checks := all[*instructions.HealthCheckCommand](s)
	if len(checks) != 1 || !slices.Equal(checks[0].Health.Test, []string{"CMD", "/finx-connector", "health"}) {
		t.Fatalf("HEALTHCHECK %+v", checks)
	}
	// The command gives up after five seconds by itself and then says why.
	if limit := checks[0].Health.Timeout.Seconds(); limit <= 5 {
		t.Errorf("HEALTHCHECK ends after %v s, before the command has an answer", limit)
	}
	if cmd := all[*instructions.CmdCommand](s); len(cmd) != 1 || !slices.Equal(cmd[0].CmdLine, []string{"serve"}) {
		t.Errorf("CMD %v", cmd)
	}
	labels := map[string]string{}
	for _, l := range all[*instructions.LabelCommand](s) {
		for _, pair := range l.Labels {
			labels[pair.Key] = pair.Value
		}
	}
	for _, want := range []string{"title", "description", "licenses", "source", "version", "revision"} {
		if labels["org.opencontainers.image."+want] == "" {
			t.Errorf("label %s is missing", want)
		}
	}
}

func TestNothingIsDownloadedOrHidden(t *testing.T) {
	stages, args := dockerfile(t)
	secretive := regexp.MustCompile(`(?i)secret|token|passw|creds|key|seed`)
	names := map[string]bool{}
	for _, arg := range args {
		for _, pair := range arg.Args {
			names[pair.Key] = true
		}
	}
	for _, s := range stages {
		if adds := all[*instructions.AddCommand](s); len(adds) != 0 {
			t.Errorf("%s: ADD unpacks and downloads; COPY does neither", s.Name)
		}
		for _, c := range all[*instructions.CopyCommand](s) {
			for _, source := range c.SourcePaths {
				if strings.Contains(source, "://") {
					t.Errorf("%s copies %s", s.Name, source)
				}
			}
		}
		for _, c := range all[*instructions.ArgCommand](s) {
			for _, pair := range c.Args {
				names[pair.Key] = true
			}
		}
		for _, c := range all[*instructions.EnvCommand](s) {
			for _, pair := range c.Env {
				names[pair.Key] = true
			}
		}
		pinned := s.BaseName == "scratch" || s.BaseName == "source" || s.BaseName == "${GO_IMAGE}"
		if !pinned {
			t.Errorf("%s stands on %s, which no argument pins", s.Name, s.BaseName)
		}
	}
	for name := range names {
		if secretive.MatchString(name) {
			t.Errorf("%s would stay in the image's history", name)
		}
	}
}

// The image is built by the toolchain that the module asks for.
func TestGoVersionIsTheModules(t *testing.T) {
	_, args := dockerfile(t)
	want := regexp.MustCompile(`(?m)^go (1\.\d+)`).FindSubmatch(read(t, inRoot("go.mod")))[1]
	for _, arg := range args {
		for _, pair := range arg.Args {
			if pair.Key == "GO_VERSION" && strings.HasPrefix(*pair.Value, string(want)+".") {
				return
			}
		}
	}
	t.Errorf("GO_VERSION is not a release of Go %s", want)
}
