package e2e_test

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
)

// Sizes that make a small history come in several pages and parts.
const (
	soakChunk    = 16 << 10
	soakPage     = 15
	soakOversize = 200 << 10 // a transaction of this size fits into no part
)

// world is everything that a soak runs on. All but the sandbox and the wires are
// processes of their own.
type world struct {
	t        testing.TB
	logs     string
	sandbox  *finxtest.Sandbox
	base     string // of the sandbox, past every wire
	vault    *vaulttest.Server
	mount    string
	broker   *brokerNodes
	nc       *nats.Conn
	js       jetstream.JetStream
	replicas []*replica
	spools   []string
	lines    []lines // of each replica
	faults   finxFaults
}

// lines are the wires from one replica to everything it needs.
type lines struct {
	finx, vault *wire
	nats        []*wire
}

func newWorld(t testing.TB, interval time.Duration, seed uint64) *world {
	t.Helper()
	w := &world{t: t, logs: os.Getenv("FINX_SOAK_LOGS")}
	if w.logs == "" {
		w.logs = t.TempDir()
	}
	w.sandbox, w.base = finxtest.Start(t, finxtest.Options{
		ClientID: clientID, ClientSecret: clientSecret, Seed: seed,
		// A grace window, so that no lost answer has to cost a token.
		Grace: 24 * time.Hour, CodeGrace: 24 * time.Hour, AccessLifetime: accessLifetime,
		Shape: finxtest.Shape{Accounts: 2, Transactions: 40, Pending: 1},
	})
	w.vault = vaulttest.StartOwn(t, "inmem")
	w.mount = w.vault.Mount(t)
	w.broker = startBroker(t, w.logs)
	w.nc = natstest.Connect(t, w.broker.url())
	var err error
	if w.js, err = jetstream.New(w.nc); err != nil {
		t.Fatal(err)
	}
	token := w.vault.NewToken(t, map[string]any{
		"policies": []string{w.vault.Policy(t, vaulttest.KV2Rules(t, w.mount, "finx"))}, "ttl": "700h",
	})
	env := soakEnv(interval)
	maps.Copy(env, map[string]string{"VAULT_TOKEN": token, "VAULT_KV_MOUNT": w.mount})
	for i := range 2 {
		w.addReplica(i+1, maps.Clone(env))
	}
	w.apply()
	return w
}

// An access token lives longer than it may take until a lost answer is asked for
// again, but counts as old soon, so that most fetches rotate.
const (
	accessLifetime = 30 * time.Minute
	accessOldAfter = 10 * time.Second
)

// soakEnv has times that make the wait for a dead process or a dependency short.
func soakEnv(interval time.Duration) map[string]string {
	return map[string]string{
		"FINX_CLIENT_ID": clientID, "FINX_CLIENT_SECRET": clientSecret, "REDIRECT_URI_ALLOW": "https://app.example,http://localhost:3000",
		"LOG_LEVEL": "info", "ESCROW_KEY": escrowKey, "SYNC_INTERVAL": interval.String(),
		"PAGE_SIZE": fmt.Sprint(soakPage), "CHUNK_BYTES": fmt.Sprint(soakChunk),
		"ACK_WAIT": "4s", "CLOCK_SKEW": "1s", "RETRY_DELAY_MAX": "2s", "BREAKER_WAIT_MAX": "2s", "DRAIN_TIMEOUT": "15s",
		"FINX_TIMEOUT_TOKEN": "3s", "FINX_TIMEOUT_LINK": "3s", "FINX_TIMEOUT_ACCOUNTS": "3s", "FINX_TIMEOUT_PAGE": "3s",
		"FINX_RETRY_BUDGET": "2s", "FINX_THROTTLE_DEFAULT": "1s", "FINX_REFRESH_SKEW": (accessLifetime - accessOldAfter).String(),
	}
}

// addReplica lays the wires of one more connector and makes it ready to be started.
func (w *world) addReplica(n int, env map[string]string) {
	w.t.Helper()
	host := func(base string) string {
		u, err := url.Parse(base)
		if err != nil {
			w.t.Fatal(err)
		}
		return u.Host
	}
	l := lines{finx: newWire(w.t, host(w.base)), vault: newWire(w.t, host(w.vault.Addr))}
	var urls []string
	for _, node := range w.broker.nodes {
		one := newWire(w.t, node.addr)
		l.nats, urls = append(l.nats, one), append(urls, "nats://"+one.addr())
	}
	spool := w.t.TempDir()
	maps.Copy(env, map[string]string{
		"FINX_BASE_URL": "http://" + l.finx.addr(), "VAULT_ADDR": "http://" + l.vault.addr(), "NATS_URL": strings.Join(urls, ","),
		"LISTEN_ADDR": freeAddress(w.t), "ESCROW_DIR": spool,
	})
	name := fmt.Sprintf("connector-%d", n)
	log := openLog(w.t, filepath.Join(w.logs, name+".log"))
	w.replicas = append(w.replicas, newReplica(w.t, name, programs.path(w.t, "finx-connector"), log, env))
	w.lines, w.spools = append(w.lines, l), append(w.spools, spool)
}

// apply makes the streams, with the settings of the first replica.
func (w *world) apply() {
	w.t.Helper()
	r := &rig{t: w.t, env: w.replicas[0].env, js: w.js}
	r.apply(r.settings())
}

// start starts both connectors and waits until they can take work.
func (w *world) start() {
	w.t.Helper()
	for _, r := range w.replicas {
		r.start()
	}
	for _, r := range w.replicas {
		natstest.Eventually(w.t, within, func() bool { return r.ready() }, r.name+" ready")
	}
}
