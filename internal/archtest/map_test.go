package archtest

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// arrows lists for each package which packages of ours its production code may
// import. It points downwards only: cmd, app, flow, custody, the adapters, the
// contract, and the small things everybody stands on. The adapters (consumer,
// publisher, streams, connectionkv, finx, vaultstore) do not know each other:
// app joins them.
var arrows = map[string][]string{
	"cmd/finx-connector": {
		"app", "doctor", "settings", "streams", "replay", "dlq", "events", "consumer", "publisher", "connection", "connection/connectionkv",
		"finx", "vaultstore", "internal/fault", "internal/natsconn", "internal/secret", "internal/streamread", "internal/telemetry",
	},
	"cmd/finx-local": {
		"app", "settings", "streams", "events", "connection", "connection/connectionkv", "finx/finxtest", "vaultstore",
		"vaultstore/vaultstoretest", "internal/natsconn", "internal/secret", "internal/telemetry", "internal/vaultdev",
	},
	"cmd/finx-sandbox": {"finx/finxtest"},
	"app": {
		"settings", "streams", "replay", "flow", "custody", "consumer", "publisher", "finx", "vaultstore", "connection",
		"connection/connectionkv", "events", "internal/fault", "internal/guard", "internal/natsconn", "internal/retry", "internal/secret", "internal/telemetry",
	},

	"flow":    {"custody", "finx", "vaultstore", "connection", "events", "internal/crashpoint", "internal/fault", "internal/secret", "internal/telemetry", "internal/waiting"},
	"custody": {"finx", "vaultstore", "internal/crashpoint", "internal/fault", "internal/retry", "internal/secret", "internal/telemetry"},

	"consumer":                {"events", "internal/fault", "internal/line", "internal/retry", "internal/streamread", "internal/telemetry"},
	"publisher":               {"events", "internal/fault", "internal/guard", "internal/retry", "internal/telemetry"},
	"streams":                 {"events", "internal/fault", "internal/retry", "internal/streamread"},
	"replay":                  {"events", "connection", "internal/fault", "internal/retry", "internal/streamread"},
	"dlq":                     {"events", "internal/fault", "internal/retry", "internal/streamread"},
	"connection/connectionkv": {"connection", "internal/fault", "internal/retry", "internal/streamread", "internal/telemetry"},
	"finx":                    {"internal/fault", "internal/guard", "internal/retry", "internal/secret", "internal/telemetry"},
	"vaultstore":              {"internal/fault", "internal/guard", "internal/retry", "internal/secret", "internal/telemetry"},
	"settings":                {"events", "internal/secret"},

	// doctor only judges: it knows what the adapters' answers mean, and asks none.
	"doctor": {
		"settings", "events", "streams", "vaultstore", "finx", "connection/connectionkv", "internal/guard", "internal/natsconn",
	},

	"connection": {"internal/fault"},
	"events":     {"internal/fault", "internal/secret"},

	"internal/archtest":   {},
	"internal/crashpoint": {},
	"internal/fault":      {},
	"internal/guard":      {"internal/fault", "internal/waiting"},
	"internal/natsconn":   {"internal/fault", "internal/secret"},
	"internal/retry":      {"internal/fault"},
	"internal/secret":     {},
	"internal/telemetry":  {"internal/fault", "internal/line"},
	"internal/line":       {},
	"internal/streamread": {},
	"internal/waiting":    {},

	// The test kit.
	"finx/finxtest":                            {"internal/secret"},
	"vaultstore/vaultstoretest":                {"vaultstore", "internal/fault", "internal/secret"},
	"connection/connectionkv/connectionkvtest": {"connection", "connection/connectionkv", "internal/fault"},
	"publisher/publishertest":                  {"events", "internal/fault"},
	"internal/natstest":                        {},
	"internal/certtest":                        {},
	"internal/telemetry/telemetrytest":         {},
	"internal/vaultdev":                        {},
	"internal/vaulttest":                       {"internal/vaultdev"},
	"e2e":                                      {},
	"upgrade":                                  {},
	"deploy":                                   {},
	"tools/vaultbuild":                         {"internal/vaultdev"},
	"deploy/prometheus":                        {},

	// What measures the connector from outside, and what it is measured against.
	"bench": {
		"app", "settings", "streams", "events", "connection", "connection/connectionkv", "finx/finxtest", "internal/natsconn", "internal/vaultdev",
		"publisher", "vaultstore", "internal/secret",
	},
	"bench/floor":    {},
	"bench/profiled": {"app", "settings"},
}

// anywhere and testsOnly are homes that are no package.
const (
	anywhere  = "anywhere"
	testsOnly = "tests only"
)

// homes lists for each third party where production code may import it; a
// trailing /* stands for the packages directly below. The longest matching
// path counts. What is not here has no home and fails: a new dependency is a
// decision to be written down.
var homes = map[string][]string{
	"github.com/nats-io/nats.go": {
		"consumer", "publisher", "streams", "replay", "dlq", "connection/connectionkv", "internal/natsconn", "internal/natstest", "internal/streamread", "app", "cmd/*",
		"bench", "bench/floor",
	},
	"github.com/nats-io/nkeys":           {"internal/natsconn", "internal/natstest"},
	"github.com/nats-io/nats-server/v2":  {"internal/natstest", "cmd/finx-local", "bench"},
	"github.com/hashicorp/vault/api":     {"vaultstore", "internal/vaulttest"},
	"github.com/cenkalti/backoff/v4":     {"internal/retry"},
	"github.com/google/uuid":             {"events"},
	"github.com/go-json-experiment/json": {"events", "finx", "bench", "bench/floor"},
	"github.com/spf13/cobra":             {"cmd/*"},
	"github.com/spf13/pflag":             {"cmd/*"},
	"go.yaml.in/yaml/v3":                 {"settings"},

	"github.com/prometheus/client_golang/prometheus":          {anywhere},
	"github.com/prometheus/client_golang/prometheus/promhttp": {"app", "cmd/*"},
	"github.com/prometheus/client_golang/prometheus/testutil": {testsOnly},
	"golang.org/x/sync": {anywhere},
	"golang.org/x/time": {anywhere},

	"go.opentelemetry.io/otel":       {"internal/telemetry"},
	"go.opentelemetry.io/proto/otlp": {"internal/telemetry/telemetrytest"},
	"google.golang.org/protobuf":     {"internal/telemetry/telemetrytest"},
	"google.golang.org/grpc":         {testsOnly},

	"github.com/santhosh-tekuri/jsonschema/v6": {testsOnly},
	"go.uber.org/goleak":                       {testsOnly},
	"pgregory.net/rapid":                       {testsOnly},
}

func TestImportsPointDownwards(t *testing.T) {
	for name, p := range packages(t) {
		allowed, known := arrows[name]
		if !known {
			t.Errorf("package %s is not on the map: give it a line in arrows (internal/archtest/map_test.go)", name)
			continue
		}
		for _, to := range ours(p.prod) {
			if !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s: no such arrow on the map", name, to)
			}
		}
	}
}

func TestThirdPartiesStayAtHome(t *testing.T) {
	for name, p := range packages(t) {
		for _, imported := range foreign(p.prod) {
			where, known := homeOf(imported)
			if !known {
				t.Errorf("%s imports %s, which has no home: decide on one in homes (internal/archtest/map_test.go)", name, imported)
				continue
			}
			if !slices.ContainsFunc(where, func(home string) bool { return livesIn(home, name) }) {
				t.Errorf("%s imports %s, whose home is %s", name, imported, strings.Join(where, ", "))
			}
		}
		// Tests may speak to every server by its own client, but bring no library of their own.
		for _, imported := range foreign(p.test) {
			if _, known := homeOf(imported); !known {
				t.Errorf("the tests of %s import %s, which has no home", name, imported)
			}
		}
	}
}

// TestMapHasNoCycle guards the rules themselves: a cycle among allowed arrows
// would make "downwards" mean nothing, long before the compiler saw one.
func TestMapHasNoCycle(t *testing.T) {
	const onPath, done = 1, 2
	mark := map[string]int{}
	var visit func(name string, path []string)
	visit = func(name string, path []string) {
		path = append(slices.Clone(path), name)
		switch mark[name] {
		case onPath:
			t.Fatalf("the map allows a cycle: %s", strings.Join(path, " → "))
		case done:
			return
		}
		mark[name] = onPath
		for _, to := range arrows[name] {
			visit(to, path)
		}
		mark[name] = done
	}
	for _, name := range slices.Sorted(maps.Keys(arrows)) {
		visit(name, nil)
	}
}

func homeOf(imported string) (where []string, known bool) {
	for at := imported; at != "."; at = path.Dir(at) {
		if where, known = homes[at]; known {
			return where, true
		}
	}
	return nil, false
}

func livesIn(home, name string) bool {
	below, wildcard := strings.CutSuffix(home, "/*")
	return home == anywhere || home == name || wildcard && path.Dir(name) == below
}
