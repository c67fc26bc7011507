package natstest

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// The roles of the shipped configuration, as their files and inboxes are named.
const (
	RoleSystem      = "system"
	RoleProvisioner = "provisioner"
	RoleConnector   = "connector"
	RoleUpstream    = "upstream"
	RoleDownstream  = "downstream"
	RoleOperator    = "operator"
)

// AllRoles are the users that the shipped configuration knows.
func AllRoles() []string {
	return []string{RoleSystem, RoleProvisioner, RoleConnector, RoleUpstream, RoleDownstream, RoleOperator}
}

// Identity is an nkey pair: the public half is who somebody is, the file holds
// the seed that proves it.
type Identity struct{ Public, SeedFile string }

// NewIdentity makes a user.
func NewIdentity(t testing.TB) Identity {
	t.Helper()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatalf("natstest: making an nkey: %v", err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatalf("natstest: making an nkey: %v", err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatalf("natstest: making an nkey: %v", err)
	}
	path := filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(path, seed, 0o600); err != nil {
		t.Fatalf("natstest: writing a seed: %v", err)
	}
	return Identity{public, path}
}

// Shipped is the configuration of deploy/nats, with a key for each role.
type Shipped struct {
	t     testing.TB
	dir   string
	Roles map[string]Identity
}

// NewShipped reads deploy/nats. With a prefix it reads a copy in which every
// subject of an event carries it, made by the command that the README there
// gives.
func NewShipped(t testing.TB, prefix string) *Shipped {
	t.Helper()
	s := &Shipped{t: t, dir: filepath.Join(root(t), "deploy", "nats"), Roles: map[string]Identity{}}
	if prefix != "" {
		s.dir = prefixed(t, s.dir, prefix)
	}
	for _, role := range AllRoles() {
		s.Roles[role] = NewIdentity(t)
	}
	return s
}

// prefixed copies the files at from and puts prefix before the subjects of
// events.
func prefixed(t testing.TB, from, prefix string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatalf("natstest: copying the configuration: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(to, "roles", "*.conf"))
	if err != nil || len(files) == 0 {
		t.Fatalf("natstest: copying the configuration: %d roles, %v", len(files), err)
	}
	sed := exec.Command("sed", slices.Concat([]string{"-i", strings.ReplaceAll(PrefixEdit, "acme", prefix)}, files)...)
	if out, err := sed.CombinedOutput(); err != nil {
		t.Fatalf("natstest: editing the roles: %v\n%s", err, out)
	}
	return to
}

// PrefixEdit is the sed command with which the README of deploy/nats puts acme
// before the subjects of events.
const PrefixEdit = `s/^\( *"\)\([a-z]\)/\1acme.\2/;s/\(subject: "\)\([a-z]\)/\1acme.\2/`

// environment is process-wide, and the server reads its configuration from it.
var environment sync.Mutex

// Options parses one of the shipped files, such as "single-node.conf", for a node of
// that name with env beside the keys of the roles. Addresses are loopback and ports
// free; everything else is as shipped.
func (s *Shipped) Options(file, node string, env map[string]string) *server.Options {
	s.t.Helper()
	environment.Lock()
	defer environment.Unlock()
	all := map[string]string{"NATS_SERVER_NAME": node, "NATS_STORE_DIR": strconv.Quote(s.t.TempDir()), "NATS_MAX_FILE_STORE": "4GB"}
	maps.Copy(all, env)
	for role, id := range s.Roles {
		all["NATS_NKEY_"+strings.ToUpper(role)] = id.Public
	}
	for name, value := range all {
		before, was := os.LookupEnv(name)
		// t.Setenv refuses parallel tests; the lock makes this safe for them.
		if err := os.Setenv(name, value); err != nil {
			s.t.Fatal(err)
		}
		defer func() {
			if was {
				_ = os.Setenv(name, before)
			} else {
				_ = os.Unsetenv(name)
			}
		}()
	}
	o, err := server.ProcessConfigFile(filepath.Join(s.dir, file))
	if err != nil {
		s.t.Fatalf("natstest: reading %s: %v", file, err)
	}
	o.Host, o.Port, o.HTTPPort, o.NoLog, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, 0, true, true
	return o
}

// root is the directory of go.mod.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for !exists(filepath.Join(dir, "go.mod")) {
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("natstest: no go.mod above the test")
		}
		dir = up
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Single starts the node of single-node.conf, with change made to its options.
func (s *Shipped) Single(change ...func(*server.Options)) *Server {
	s.t.Helper()
	o := s.Options("single-node.conf", "node-1", nil)
	return Start(s.t, WithOptions(func(to *server.Options) {
		*to = *o
		for _, f := range change {
			f(to)
		}
	}))
}

// Cluster starts nats-server.conf so many times. env returns what each node is given
// beside the keys of the roles; change may add to its options.
func (s *Shipped) Cluster(n int, env func(node int) map[string]string, change ...func(*server.Options)) *ClusterServers {
	s.t.Helper()
	all := make([]*server.Options, n)
	for i := range all {
		of := map[string]string{"NATS_CLUSTER_NAME": "finx", "NATS_CLUSTER_ROUTES": `["nats-route://127.0.0.1:1"]`}
		maps.Copy(of, env(i))
		all[i] = s.Options("nats-server.conf", nodeName(i), of)
	}
	next := 0
	return Cluster(s.t, n, WithOptions(func(to *server.Options) {
		*to = *all[next%n]
		next++
		for _, f := range change {
			f(to)
		}
	}))
}
