// Package prometheus_test holds the alerts and their runbooks together. That the
// rules are rules, and fire when they should, is the matter of tools/promcheck.
package prometheus_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	runbooks = "../../docs/runbooks"
	commands = "../../docs/cli.md"
)

func read(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// rule is what a runbook repeats of its alert.
type rule struct{ severity, wait string }

var (
	alertLine    = regexp.MustCompile(`^      - alert: (\w+)$`)
	waitLine     = regexp.MustCompile(`^        for: (\w+)$`)
	severityLine = regexp.MustCompile(`^        labels: \{severity: (\w+)\}$`)
)

// rules reads the alerts of the file, which is written one field a line.
func rules(t *testing.T) map[string]rule {
	t.Helper()
	all, name := map[string]rule{}, ""
	for line := range strings.Lines(read(t, "alerts.yaml")) {
		line = strings.TrimSuffix(line, "\n")
		if m := alertLine.FindStringSubmatch(line); m != nil {
			name = m[1]
			all[name] = rule{wait: "at once"}
		}
		r := all[name]
		if m := waitLine.FindStringSubmatch(line); m != nil {
			r.wait = "after " + spoken(m[1])
		}
		if m := severityLine.FindStringSubmatch(line); m != nil {
			r.severity = m[1]
		}
		if name != "" {
			all[name] = r
		}
	}
	if len(all) < 20 {
		t.Fatalf("%d alerts found", len(all))
	}
	return all
}

// spoken is a duration in words, 5m as "5 minutes".
func spoken(d string) string {
	n, unit := d[:len(d)-1], map[byte]string{'m': "minute", 'h': "hour", 'd': "day"}[d[len(d)-1]]
	if n != "1" {
		unit += "s"
	}
	return n + " " + unit
}

func TestEveryAlertHasARunbookAndEachRunbookAnAlert(t *testing.T) {
	all, index := rules(t), read(t, runbooks+"/README.md")
	files, err := filepath.Glob(filepath.Join(filepath.FromSlash(runbooks), "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".md")
		if _, known := all[name]; !known && name != "README" {
			t.Errorf("%s is of no alert", file)
		}
	}
	for name, r := range all {
		page := read(t, runbooks+"/"+name+".md")
		if !strings.HasPrefix(page, "# "+name+"\n\n`"+r.severity+"`, "+r.wait+".\n") {
			t.Errorf("%s does not begin with its name, severity and wait: %q", name, page[:min(80, len(page))])
		}
		for _, part := range []string{"**It means.** ", "**At risk.** ", "**Not at risk.** ", "## First look\n\n```console\n", "## Remedy\n\n- ", "## Escalate\n\n"} {
			if !strings.Contains(page, part) {
				t.Errorf("%s has no %q", name, part)
			}
		}
		if !strings.Contains(index, "| ["+name+"]("+name+".md) | "+r.severity+" | ") {
			t.Errorf("%s is not in the list of runbooks, or with another severity", name)
		}
	}
}

var (
	ourCommand = regexp.MustCompile("(?:^|[`\\s/])finx-connector((?: [a-z]+){1,2})")
	ourMetric  = regexp.MustCompile("`(finx_connector_[a-z_]+)")
	pageLink   = regexp.MustCompile(`\]\(([^)#]+)\)`)
)

// TestRunbooksSayWhatCanBeTyped holds commands, metrics and links in the pages to what
// there is.
func TestRunbooksSayWhatCanBeTyped(t *testing.T) {
	cli := read(t, commands)
	var metrics []struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal([]byte(read(t, "metrics.json")), &metrics); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(filepath.FromSlash(runbooks), "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d runbooks, error %v", len(files), err)
	}
	typed := 0
	for _, file := range files {
		page := read(t, filepath.ToSlash(file))
		for _, m := range ourCommand.FindAllStringSubmatch(page, -1) {
			words := strings.Fields(m[1])
			known := slices.ContainsFunc([]string{words[0], strings.Join(words, " ")}, func(name string) bool {
				return strings.Contains(cli, "\n## finx-connector "+name+"\n")
			})
			if !known {
				t.Errorf("%s: there is no command finx-connector %s", file, strings.Join(words, " "))
			}
			typed++
		}
		for _, m := range ourMetric.FindAllStringSubmatch(page, -1) {
			if !slices.ContainsFunc(metrics, func(one struct {
				Name string `json:"name"`
			},
			) bool {
				return one.Name == m[1]
			}) {
				t.Errorf("%s: there is no metric %s", file, m[1])
			}
		}
		for _, m := range pageLink.FindAllStringSubmatch(page, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s leads to %s, which is not there", file, m[1])
			}
		}
	}
	if typed < 20 {
		t.Errorf("%d commands found: the pattern misses them", typed)
	}
}
