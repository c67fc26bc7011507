package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// keeperMay reads the rights in roles/keeper.conf, which no user has as shipped.
func keeperMay(t *testing.T) *server.Permissions {
	t.Helper()
	dir := t.TempDir()
	role, err := filepath.Abs("../deploy/nats/roles/keeper.conf")
	if err == nil {
		role, err = filepath.Rel(dir, role)
	}
	conf := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("include %q\nauthorization { users: [ { user: keeper, password: %s, permissions: $KEEPER_MAY } ] }\n", role, observerPassword)
	if err == nil {
		err = os.WriteFile(conf, []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	return o.Users[0].Permissions
}

// TestKeeperDoesWhatOperatingByHandNeeds backs up, erases and restores with the rights
// of the role that is there for it; no other role has them.
func TestKeeperDoesWhatOperatingByHandNeeds(t *testing.T) {
	may := keeperMay(t)
	r := newRoled(t, "", options{memory: true, env: map[string]string{}}, nil, func(o *server.Options) {
		o.Users = append(o.Users, &server.User{Username: "keeper", Password: observerPassword, Account: account(o), Permissions: may})
	})
	r.publish(events.TypeConnectRequested, []byte(`{}`))
	r.put(connectionkv.BucketConnections, "connection.x", "a record")
	nc := natstest.Connect(t, strings.Replace(r.url, "nats://", "nats://keeper:"+observerPassword+"@", 1), nats.CustomInboxPrefix("_INBOX_keeper"))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	keeper := r.at(t)
	keeper.js = js
	before := r.lastSequences()
	copies := backup(t, nc)

	keeper.purge(t.Context(), events.StreamTimers, "finx.timer.*.x")
	keeper.purgeKey(t.Context(), connectionkv.BucketConnections, "connection.x")
	s, err := js.Stream(t.Context(), events.StreamRequests)
	if err == nil {
		err = s.SecureDeleteMsg(t.Context(), 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	keeper.eachMessage(t.Context(), events.StreamRequests, func(m *jetstream.RawStreamMsg) { t.Errorf("%d is still there", m.Sequence) })
	if r.has(connectionkv.BucketConnections, "connection.x") {
		t.Error("the record is still there")
	}

	keeper.clear()
	restore(t, nc, copies)
	for name, last := range r.lastSequences() {
		if last != before[name] {
			t.Errorf("%s ends at %d, and before at %d", name, last, before[name])
		}
	}
	if !r.has(connectionkv.BucketConnections, "connection.x") {
		t.Error("the record is not back")
	}
	r.wire.checkNothingRefused(t, map[string]string{"keeper": "keeper"})
}
