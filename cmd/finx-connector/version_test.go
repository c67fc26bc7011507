package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	r := &rig{}
	r.run(t, "version").done(t).prints(t, "finx-connector ", "commit ", runtime.Version())
	if got := decodeJSON[build](t, r.run(t, "version", "-o", "json").done(t)); got != buildVersion() || got.Go != runtime.Version() {
		t.Errorf("%+v", got)
	}
}

func TestBuildsDescribeThemselves(t *testing.T) {
	info := func(version, revision, modified string) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: modified},
		}}
	}
	for name, tc := range map[string]struct {
		linked          string
		info            *debug.BuildInfo
		version, commit string
	}{
		"nothing known":      {"", nil, "development", "unknown"},
		"go build":           {"", info("(devel)", "abc", "true"), "development", "abc (modified)"},
		"go install":         {"", info("v1.2.3", "", ""), "v1.2.3", "unknown"},
		"a release":          {"1.2.3", info("(devel)", "abc", "false"), "1.2.3", "abc"},
		"without repository": {"1.2.3+def", info("(devel)", "", ""), "1.2.3", "def"},
	} {
		if got := describeBuild(tc.linked, tc.info); got.Version != tc.version || got.Commit != tc.commit {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestCellsCannotDriveTheTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünï 漢": "plain ünï 漢", "a\tb\nc": `a\tb\nc`, "\x1b[31mred": `\x1b[31mred`, "\u202egnp": `\u202egnp`, `"q"` + "\a": `"q"\a`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %s, want %s", in, got, want)
		}
	}
	if got := cut("ääää", 3); got != "ää…" {
		t.Errorf("cut: %s", got)
	}
}
