package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "draw the commands into docs/cli.md")

const (
	cliPage  = "../../docs/cli.md"
	cliBegin = "<!-- commands, drawn by go test ./cmd/finx-connector -update -->\n"
)

// tree returns all commands, the root first.
func tree() []*cobra.Command {
	var all []*cobra.Command
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		all = append(all, c)
		for _, below := range c.Commands() {
			walk(below)
		}
	}
	walk((&program{}).root())
	return all
}

func TestTheCommandsOfTheContractAreThere(t *testing.T) {
	var got []string
	for _, c := range tree() {
		if !c.HasSubCommands() {
			got = append(got, strings.TrimPrefix(c.CommandPath(), "finx-connector "))
		}
	}
	slices.Sort(got)
	want := []string{
		"connections list", "connections show", "connections sync", "dlq discard", "dlq list", "dlq log", "dlq redrive", "dlq show", "doctor",
		"emit callback", "emit connect", "emit erase", "emit sync", "health", "replay inputs", "replay outputs", "replay refetch", "serve", "settings list", "streams apply", "streams check", "version",
	}
	if !slices.Equal(got, want) {
		t.Errorf("commands %q\nwant %q", got, want)
	}
}

func TestEveryCommandHelps(t *testing.T) {
	r := &rig{}
	for _, c := range tree() {
		path := strings.TrimPrefix(strings.TrimPrefix(c.CommandPath(), "finx-connector"), " ")
		if c.Short == "" || !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s has no description, or no example of itself: %q", c.CommandPath(), c.Example)
		}
		help := r.run(t, append(strings.Fields(path), "--help")...).done(t).prints(t, "Usage:", "Examples:", "--config")
		if help.stderr != "" {
			t.Errorf("%s --help complains: %s", path, help.stderr)
		}
		printsTable := !c.HasSubCommands() && path != "serve"
		if got := c.Flags().Lookup("output") != nil; got != printsTable {
			t.Errorf("%s: -o is there: %v", path, got)
		}
	}
	r.run(t, "help", "streams").done(t).prints(t, "apply")
	r.run(t, "completion", "bash").done(t).prints(t, "finx-connector")
}

// After a change of commands or flags: go test ./cmd/finx-connector -run CLI -update.
func TestCLIPageShowsEveryCommand(t *testing.T) {
	page, err := os.ReadFile(cliPage)
	if err != nil {
		t.Fatal(err)
	}
	head, drawn, found := strings.Cut(string(page), cliBegin)
	if !found {
		t.Fatalf("%s lacks the line %q", cliPage, cliBegin)
	}
	want := drawCommands()
	if drawn == want {
		return
	}
	if !*update {
		t.Fatalf("%s shows other commands than there are; run: go test ./cmd/finx-connector -run CLI -update", cliPage)
	}
	if err := os.WriteFile(cliPage, []byte(head+cliBegin+want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// drawCommands returns one section a command: what it does, an example, its
// flags.
func drawCommands() string {
	var b strings.Builder
	for _, c := range tree() {
		if c.HasSubCommands() {
			continue
		}
		c.InitDefaultHelpFlag()
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```console\n%s\n```\n", c.CommandPath(), text, strings.ReplaceAll(c.Example, "  finx", "finx"))
		fmt.Fprintf(&b, "\n```text\n%s\n%s```\n", c.UseLine(), c.NonInheritedFlags().FlagUsages())
	}
	return b.String()
}

func TestWrongUsage(t *testing.T) {
	r := &rig{env: map[string]string{"NATS_URL": "nats://127.0.0.1:1"}}
	for args, complaint := range map[string]string{
		"":                             "a command is missing: serve,",
		"frob":                         `unknown command "frob"; `,
		"serv":                         `unknown command "serv" for "finx-connector"; did you mean serve?`,
		"--frob":                       "unknown flag: --frob",
		"streams":                      "a command is missing: apply, check",
		"streams aply":                 "did you mean apply?",
		"streams check extra":          `unknown command "extra" for "finx-connector streams check"`,
		"streams check --frob":         "unknown flag: --frob",
		"streams check -o xml":         "must be table or json",
		"streams check --timeout soon": "invalid argument",
		"streams check --timeout 0s":   "--timeout must be above 0",
		"serve extra":                  "unknown command",
		"emit connect":                 "redirect_uri: missing",
		"emit connect --user-id u":     "redirect_uri: missing",
		"emit connect --user-id u --redirect-uri https://a.example --sync-period many": "invalid argument",
		"emit callback":           "at least one of the flags",
		"emit callback --state s": "success: missing",
		"emit callback --state s --url https://a.example/?state=s": "none of the others can be",
		"emit callback --state s --success --cancel":               "cancel: contradicts success",
		"emit callback --state s --code-file /no/such/file":        "reading --code-file",
		"emit callback --url-file -":                               "it is empty",
		"emit sync":                                                "connection_id: missing",
		"emit sync --connection-id x --since soon":                 "connection_id: ",
		"emit erase":                                              "user_id: missing",
		"connections list --state gone":                           "--state must be one of requested, ",
		"connections list --limit -1":                             "--limit must be",
		"connections list --sort size":                            "--sort must be one of consent, error, ",
		"connections list --expiring soon":                        "--expiring must be a duration",
		"connections list --stale -1h":                            "--stale must be a duration",
		"connections show":                                        "accepts 1 arg(s), received 0",
		"connections sync not-an-id":                              "connection_id: ",
		"dlq list --class bad":                                    "--class must be one of malformed, ",
		"dlq list --since yesterday":                              "--since must be",
		"dlq list --subject a..b":                                 "--subject must be",
		"dlq show x":                                              `"x" is no sequence`,
		"dlq show 0":                                              `"0" is no sequence`,
		"dlq redrive":                                             "name dead letters",
		"dlq redrive 1 --all":                                     "name dead letters",
		"dlq redrive 1 1":                                         "named twice",
		"dlq redrive 1 --rate 0":                                  "--rate must be",
		"dlq discard 1":                                           "--reason is missing",
		"dlq discard --reason x":                                  "name dead letters",
		"dlq list --until yesterday":                              "--until must be",
		"dlq list --since 1h --until 2h":                          "--since must be before --until",
		"replay":                                                  "a command is missing: outputs, inputs, refetch",
		"replay outputs --since soon":                             "--since must be",
		"replay outputs --since 1h --until 2h":                    "--until is before --since",
		"replay outputs --from-seq 2 --to-seq 1":                  "--to-seq is below",
		"replay outputs --from-seq x":                             "invalid argument",
		"replay outputs --rate 0":                                 "--rate must be above 0",
		"replay outputs --to a.>":                                 "--to must be a NATS subject without wildcards",
		"replay outputs --to callback.received":                   "connector's own",
		"replay outputs --resume 17":                              "--resume must be the id",
		"replay outputs --resume " + connectionID + " --since 1h": "none of the others can be",
		"replay outputs --resume " + connectionID + " --to a":     "none of the others can be",
		"replay outputs --full":                                   "unknown flag",
		"replay outputs extra":                                    "unknown command",
		"replay inputs --to a":                                    "unknown flag",
		"replay inputs --connection x":                            "--connection must be",
		"replay inputs --subject a..b":                            "--subject must be",
		"replay refetch --from-seq 1":                             "a refetch reads no stream",
		"replay refetch --to-seq 9":                               "a refetch reads no stream",
		"replay refetch --subject transactions.fetched":           "a refetch reads no stream",
		"replay refetch --full --since 24h":                       "leave --since",
		"replay refetch --until 24h":                              "give both",
		"settings list --config /no/such/file":                    "/no/such/file",
	} {
		if args == "frob" {
			complaint = `unknown command "frob" for "finx-connector"; there are: serve,`
		}
		got := r.run(t, strings.Fields(args)...).exits(t, exitUsage).complains(t, "finx-connector: ", complaint, "--help")
		if got.stdout != "" || strings.Contains(got.stderr, "Usage:") || strings.Contains(got.stderr, "Flags:") {
			t.Errorf("%q prints more than it should: %s%s", args, got.stdout, got.stderr)
		}
	}
}

func TestBadSettingsAreWrongUsageEverywhere(t *testing.T) {
	r := &rig{env: map[string]string{"PAGE_SIZE": "canary-secret"}}
	for _, args := range [][]string{{"streams", "check"}, {"dlq", "list"}, {"connections", "list"}, {"settings", "list"}, {"serve"}} {
		r.run(t, args...).exits(t, exitUsage).complains(t, "PAGE_SIZE (environment)").hides(t, "canary-secret")
	}
	r.env = map[string]string{"NATS_URL": "://canary-password@host"}
	r.run(t, "dlq", "list").exits(t, exitUsage).complains(t, "NATS_URL").hides(t, "canary-password")
}

func TestMistypedVariablesAreSaid(t *testing.T) {
	r := newRig(t)
	r.environ = []string{"FINX_BASE_ULR=canary-value"}
	r.run(t, "streams", "check").exits(t, exitFailed).complains(t, "finx-connector: warning: ", "FINX_BASE_ULR").hides(t, "canary-value")
}

func TestSettingsList(t *testing.T) {
	r := &rig{env: map[string]string{"FINX_CLIENT_SECRET": "canary-secret", "PAGE_SIZE": "77", "NATS_URL": "nats://u:canary-password@broker:4222"}}
	r.run(t, "settings", "list").done(t).prints(t, "SETTING", "PAGE_SIZE", "77", "environment", "[redacted]", "nats://broker:4222").hides(t, "canary")
	var all []shownSetting
	out := r.run(t, "settings", "list", "-o", "json").done(t).hides(t, "canary")
	if err := json.Unmarshal([]byte(out.stdout), &all); err != nil || len(all) < 50 {
		t.Fatalf("%d settings: %v", len(all), err)
	}
	i := slices.IndexFunc(all, func(s shownSetting) bool { return s.Name == "PAGE_SIZE" })
	if all[i].Value != "77" || all[i].Source != "environment" || all[i].Doc == "" {
		t.Errorf("%+v", all[i])
	}
}
