package deploy_test

import (
	"os"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestREADMEGivesTheEditThatIsTested: the tests put a prefix into the roles with the
// command that the README gives.
func TestREADMEGivesTheEditThatIsTested(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := "`sed -i '" + natstest.PrefixEdit + "' deploy/nats/roles/*.conf`"; !strings.Contains(string(text), want) {
		t.Errorf("README.md does not say %s", want)
	}
}

// TestEveryVariableIsExplained: what the files take from the environment is listed at
// the head of the one that is started.
func TestEveryVariableIsExplained(t *testing.T) {
	head, err := os.ReadFile("nats/nats-server.conf")
	if err != nil {
		t.Fatal(err)
	}
	used := 0
	for _, file := range []string{"nats/parts/server.conf", "nats/parts/tls.conf", "nats/parts/cluster.conf", "nats/accounts.conf"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			for word := range strings.FieldsSeq(line) {
				if name, is := strings.CutPrefix(strings.Trim(word, ","), "$NATS_"); is {
					used++
					if !strings.Contains(string(head), "NATS_"+name) {
						t.Errorf("%s: $NATS_%s is not explained in nats-server.conf", file, name)
					}
				}
			}
		}
	}
	if used < 15 {
		t.Errorf("%d variables found", used)
	}
}
