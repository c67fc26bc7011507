package e2e_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// TestStoryOnEveryBroker plays one connection through: connect, approve, tokens
// into Vault, transactions out.
func TestStoryOnEveryBroker(t *testing.T) {
	for _, shape := range []struct {
		name     string
		broker   broker
		replicas int
	}{{"in process", inProcess, 1}, {"a process of its own", ownProcess, 1}, {"three nodes", threeNodes, 3}} {
		t.Run(shape.name, func(t *testing.T) {
			r := newRig(t, options{broker: shape.broker, sandbox: finxtest.Options{
				Shape: finxtest.Shape{Accounts: 3, Transactions: 2000, Pending: 2, EmptyAccounts: 1},
			}})
			checkReplicas(t, r, shape.replicas)
			r.start()
			link, completed := r.establish("story@example.com")
			established := r.event("established", func(e event) bool { return e.Type == events.TypeConnectionEstablished })
			if established.ConnectionID != link.ConnectionID || established.State != link.State || established.User != "story@example.com" {
				t.Errorf("established: %s", established.Data)
			}
			total := 0
			for _, account := range completed.Accounts {
				total += account.Transactions
			}
			if want := 2000 + 2*2; total != want || len(completed.Accounts) != 3 {
				t.Errorf("%d transactions in %d accounts, want %d in 3", total, len(completed.Accounts), want)
			}
			r.parts(completed)
			kept := r.kept(link.ConnectionID)
			if kept["access_token"] == "" || kept["refresh_token"] == "" || kept["pending"] != nil {
				t.Error("the secret in Vault is not whole")
			}
			if n := r.sandbox.Stats().CodesExchanged; n != 1 {
				t.Errorf("%d codes exchanged", n)
			}
			if letters := r.seen.lettersSoFar(); len(letters) != 0 {
				t.Errorf("%d dead letters", len(letters))
			}
		})
	}
}

// checkReplicas holds every stream, bucket and consumer to what the shape of
// the broker asks for.
func checkReplicas(t *testing.T, r *rig, want int) {
	t.Helper()
	streams := r.js.ListStreams(t.Context())
	n := 0
	for info := range streams.Info() {
		n++
		if info.Config.Replicas != want || info.Config.Storage != jetstream.FileStorage {
			t.Errorf("stream %s: %d replicas in %s, want %d in files", info.Config.Name, info.Config.Replicas, info.Config.Storage, want)
		}
	}
	if err := streams.Err(); err != nil {
		t.Fatal(err)
	}
	if n < 8 {
		t.Errorf("%d streams and buckets", n)
	}
}
