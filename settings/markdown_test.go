package settings_test

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/settings"
)

var update = flag.Bool("update", false, "rewrite the settings section of README.md")

const (
	readme      = "../README.md"
	markerBegin = "<!-- settings:begin -->\n"
	markerEnd   = "<!-- settings:end -->"
)

// After a change of the table: go test ./settings -run README -update.
func TestREADMEHasTheTable(t *testing.T) {
	data, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, begins := strings.Cut(string(data), markerBegin)
	_, tail, ends := strings.Cut(rest, markerEnd)
	if !begins || !ends {
		t.Fatalf("%s: no section between %q and %q", readme, strings.TrimSpace(markerBegin), markerEnd)
	}
	want := head + markerBegin + settings.Markdown() + markerEnd + tail
	if want == string(data) {
		return
	}
	if !*update {
		t.Fatalf("%s does not show the settings as they are; run with -update", readme)
	}
	if err := os.WriteFile(readme, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTheTableIsWhole(t *testing.T) {
	name := regexp.MustCompile(`^[A-Z][A-Z0-9_]+$`)
	seen := map[string]bool{}
	md := settings.Markdown()
	var help strings.Builder
	if err := settings.Help(&help); err != nil {
		t.Fatal(err)
	}
	for _, s := range settings.Table() {
		if !name.MatchString(s.Env) || seen[s.Env] || s.Doc == "" || s.Allowed == "" || s.Group == "" || s.Key() != strings.ToLower(s.Env) {
			t.Errorf("%+v", s)
		}
		seen[s.Env] = true
		if !strings.Contains(md, "| `"+s.Env+"`") || !strings.Contains(help.String(), "  "+s.Env) {
			t.Errorf("%s is not listed", s.Env)
		}
		if s.Secret && (s.Default != "" || !strings.Contains(md, s.Env+"_FILE`")) {
			t.Errorf("%s: a secret without its file, or with a default", s.Env)
		}
	}
	for line := range strings.SplitSeq(strings.TrimSpace(md), "\n") {
		if strings.HasPrefix(line, "|") && strings.Count(line, "|") != 5 {
			t.Errorf("not four cells: %s", line)
		}
	}
	for _, want := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "VAULT_K8S_JWT_PATH", "STREAM_TIMERS", "FINX_PATH_REVOKE"} {
		if !seen[want] {
			t.Errorf("%s is missing", want)
		}
	}
}
