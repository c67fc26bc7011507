package deploycheck

import (
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/conf"
)

// The nodes of compose are a cluster that keeps what it acknowledges.
func TestComposeClusterIsOne(t *testing.T) {
	p := compose(t)
	names := map[string]bool{}
	for _, service := range []string{"nats-1", "nats-2", "nats-3"} {
		for variable, value := range p.Services[service].Environment {
			t.Setenv(variable, *value)
		}
		for _, role := range []string{"SYSTEM", "PROVISIONER", "CONNECTOR", "UPSTREAM", "DOWNSTREAM", "OPERATOR"} {
			t.Setenv("NATS_NKEY_"+role, "U"+role) // of secrets.sh
		}
		node, err := conf.ParseFile(filepath.Join(composeDir(), "nats.conf"))
		if err != nil {
			t.Fatal(err)
		}
		if node["server_name"] != service || names[service] {
			t.Errorf("%s is called %v", service, node["server_name"])
		}
		names[service] = true
		cluster, _ := node["cluster"].(map[string]any)
		routes, _ := cluster["routes"].([]any)
		for i, route := range routes {
			if route != []string{"nats-route://nats-1:6222", "nats-route://nats-2:6222", "nats-route://nats-3:6222"}[i] {
				t.Errorf("route %v", route)
			}
		}
		if len(routes) != 3 || cluster["name"] != "finx" {
			t.Errorf("%s: cluster %v", service, cluster)
		}
		js, _ := node["jetstream"].(map[string]any)
		if js["sync_interval"] != "always" || js["store_dir"] != "/data" {
			t.Errorf("%s: jetstream %v", service, js)
		}
		if accounts, _ := node["accounts"].(map[string]any); len(accounts) == 0 {
			t.Errorf("%s knows nobody", service)
		}
	}
}
