package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is set by release builds: -ldflags "-X main.version=1.2.3", or
// 1.2.3+COMMIT where the build has no repository to read the commit from.
var version string

// build is what this binary says about itself.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

func buildVersion() build {
	info, _ := debug.ReadBuildInfo()
	return describeBuild(version, info)
}

// describeBuild puts together what the linker was told and what the toolchain
// wrote down; info may be nil.
func describeBuild(linked string, info *debug.BuildInfo) build {
	b := build{Go: runtime.Version()}
	number, commit, _ := strings.Cut(linked, "+")
	if info != nil {
		if number == "" && info.Main.Version != "(devel)" {
			number = info.Main.Version
		}
		values := map[string]string{}
		for _, s := range info.Settings {
			values[s.Key] = s.Value
		}
		if revision := values["vcs.revision"]; revision != "" {
			commit = revision
			if values["vcs.modified"] == "true" {
				commit += " (modified)"
			}
		}
	}
	b.Version, b.Commit = cmp.Or(number, "development"), cmp.Or(commit, "unknown")
	return b
}

func (p *program) versionCommand() *cobra.Command {
	var out format
	c := &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Example: `  finx-connector version
  finx-connector version -o json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := buildVersion()
			if out.json() {
				return writeJSON(p.stdout, b)
			}
			_, err := fmt.Fprintf(p.stdout, "finx-connector %s\ncommit %s\n%s\n", b.Version, b.Commit, b.Go)
			return err
		},
	}
	out.flag(c)
	return c
}
