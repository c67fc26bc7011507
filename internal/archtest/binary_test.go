package archtest

import (
	"os/exec"
	"strings"
	"testing"
)

// TestShippedBinaryIsLean looks at everything that is linked into the product,
// third parties' imports included: no NATS server, no Vault core, no test kit.
func TestShippedBinaryIsLean(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "./cmd/finx-connector")
	list.Dir = root
	var stderr strings.Builder
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("listing what cmd/finx-connector links: %v\n%s", err, stderr.String())
	}
	deps := strings.Fields(string(out))
	if len(deps) < 100 {
		t.Fatalf("go list names %d packages, too few to be the whole program", len(deps))
	}
	for _, dep := range deps {
		if why := unwanted(dep); why != "" {
			t.Errorf("cmd/finx-connector links %s: %s", dep, why)
		}
	}
}

func TestUnwanted(t *testing.T) {
	tests := []struct {
		dep    string
		wanted bool
	}{
		{"testing", false},
		{"testing/synctest", false},
		{"github.com/nats-io/nats-server/v2/server", false},
		{"github.com/nats-io/nats.go/jetstream", true},
		{"github.com/hashicorp/vault/vault", false},
		{"github.com/hashicorp/vault/sdk/helper/consts", false},
		{"github.com/hashicorp/vault/api", true},
		{"github.com/hashicorp/vault/api/auth/approle", true},
		{"github.com/santhosh-tekuri/jsonschema/v6", false},
		{module + "/finx/finxtest", false},
		{module + "/internal/vaultdev", false},
		{module + "/internal/secret", true},
		{"net/http", true},
	}
	for _, tt := range tests {
		if got := unwanted(tt.dep) == ""; got != tt.wanted {
			t.Errorf("unwanted(%q) = %q, want it welcome: %v", tt.dep, unwanted(tt.dep), tt.wanted)
		}
	}
}

// unwanted says why a package must not be in the shipped binary, "" if it may.
func unwanted(dep string) string {
	below, isOurs := strings.CutPrefix(dep, module+"/")
	switch {
	case under(dep, "testing"):
		return "the testing package registers flags and is for tests"
	case under(dep, "github.com/nats-io/nats-server/v2"):
		return "the product speaks to a broker, it is none"
	case under(dep, "github.com/hashicorp/vault") && !under(dep, "github.com/hashicorp/vault/api"):
		return "the product speaks to Vault, it is none"
	case under(dep, "github.com/santhosh-tekuri/jsonschema/v6"):
		return "the schemas are checked in tests"
	case isOurs && (strings.HasSuffix(below, "test") || below == "internal/vaultdev"):
		return "it belongs to the test kit"
	}
	return ""
}

func under(dep, top string) bool { return dep == top || strings.HasPrefix(dep, top+"/") }
